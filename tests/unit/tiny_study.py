"""A study small enough to be run in a test by real processes: digits, two columns."""

STUDY = """
name = "tiny"
baseline = "ddpm"
equal = "images"
blocks = 1
workers = {workers}
trials = {{ count = 0 }}
budget = {{ images = {images} }}
data = {{ source = "digits", size = 8, channels = 1, limit = 200 }}
network = {{ patch = 2, width = 32, depth = 3, heads = 2, decoder = 1 }}
optimiser = {{ batch = 32 }}

[evaluation]
encoder = "pixels"
samples = 16
evaluations = 4
real_images = 32
loss_images = 16
log_snrs = [4]
grids = [1]
place = [0.5, 4, 1]
search_images = 60

[[columns]]
id = "masked"
method = "masked-diffusion"

[[columns]]
id = "ddpm"
method = "ddpm"
"""
