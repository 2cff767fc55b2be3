"""The mathematics of diffusion: schedule, denoiser, weighting, sampling, guidance.

Notation: x₀ an image in [−1, 1], ε standard normal noise, x_t = α x₀ + σ ε with (α, σ) given by a
schedule at t in [0, 1]. Nothing here reads files or settings.
"""
