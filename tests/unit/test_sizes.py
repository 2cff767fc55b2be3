"""Images that are not square: prepared, trained on, drawn and measured as what they are."""

import io
import json
import math
from pathlib import Path

import diffusers_folders
import numpy as np
import pytest
import torch
from PIL import Image

from kurabe import data
from kurabe.backbones.patch import PatchTransformer
from kurabe.cli import answer
from kurabe.data.alike import shrunk
from kurabe.data.decoding import decode
from kurabe.data.duplicates import near_duplicates
from kurabe.data.resize import resized
from kurabe.encoders import load_encoder
from kurabe.errors import UserError
from kurabe.evaluation.memorisation import structure_distances
from kurabe.exports.diffusers import export
from kurabe.methods import choices_of, find
from kurabe.objectives.term import Stream
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.records.samples import read_grid
from kurabe.runs.bases import check_base, find_base, network_of
from kurabe.sizes import setting_of, sides_of, times
from kurabe.training import load_model, train
from kurabe.training.batches import Source
from kurabe.training.model import NETWORK, make_denoiser, start_model

TINY = """
name = "oblong"
baseline = "ddpm"
equal = "images"
blocks = 1
workers = 1
device = "cpu"
trials = { count = 0 }
budget = { images = 128 }
data = { source = "../images", size = "12x8" }
network = { patch = 2, width = 32, depth = 3, heads = 2, decoder = 1 }
optimiser = { batch = 32 }

[evaluation]
encoder = "pixels"
samples = 16
evaluations = 4
real_images = 32
loss_images = 16
log_snrs = [4]
grids = [1, 2]
place = [0.5, 4, 1]
search_images = 30

[[columns]]
id = "ddae"
method = "ddae"

[[columns]]
id = "ddpm"
method = "ddpm"
"""


def saved(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def a_folder(place: Path, count: int = 60) -> Path:
    """Random pictures of several ratios."""
    place.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for k in range(count):
        shape = ((16, 24), (20, 20), (24, 16))[k % 3]
        Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(place / f"{k:02d}.png")
    return place


def test_a_size_is_said_in_one_way():
    assert sides_of(32) == sides_of("32") == sides_of("32x32") == (32, 32)
    assert sides_of("48x32") == sides_of("48×32") == sides_of((32, 48)) == (32, 48)
    assert [setting_of(size) for size in ("32x32", "48x32", (32, 48))] == [32, "48x32", "48x32"]
    assert (times(32), times("48x32")) == ("32×32", "48×32")
    for odd in ("", "x", "48x", "48x32x3", "3x48", "48x2049", "4.5", "-8", 3, 2049, (32, 3)):
        with pytest.raises(ValueError, match="WIDTHxHEIGHT"):
            setting_of(odd)


def test_a_file_covers_the_size_and_is_cut_in_the_middle():
    """A ramp across: of 30×20 to 8×8 the middle 20 columns stay, to 12×8 all, to 8×12 13 of 30."""
    ramp = np.tile(np.arange(30, dtype=np.uint8) * 8, (20, 1))
    for size, kept in ((8, 20), ("12x8", 30), ("8x12", 13)):
        found = decode(saved(ramp), size)
        height, width = sides_of(size)
        assert found.pixels.shape == (height, width, 3)
        # The mean of a ramp's middle is that of the whole; its reach is what was kept.
        values = found.pixels[height // 2, :, 0].astype(float)
        assert values.mean() == pytest.approx(8 * 14.5, abs=4.5)
        slope = (values[width - 2] - values[1]) / (width - 3)
        assert slope == pytest.approx(8 * kept / width, rel=0.06)
        assert found.share == pytest.approx({20: 2 / 3, 30: 1, 13: 4 / 9}[kept])


def test_a_turned_file_is_cut_after_it_was_turned(tmp_path):
    image = Image.fromarray(np.zeros((20, 30, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    content = (tmp_path / "a.jpg").read_bytes()
    assert decode(content, "8x12").share == 1
    assert decode(content, "12x8").share == pytest.approx(4 / 9)


def test_arrays_are_cut_as_files_are():
    pixels = np.arange(2 * 12 * 16, dtype=np.uint8).reshape(2, 12, 16, 1)
    np.testing.assert_array_equal(resized(pixels, (12, 8)), pixels[:, :, 4:12])
    np.testing.assert_array_equal(resized(pixels, (6, 16)), resized(pixels[:, 3:9], (6, 16)))
    means = pixels.reshape(2, 6, 2, 8, 2, 1).mean(axis=(2, 4))
    np.testing.assert_array_equal(resized(pixels, (6, 8)), np.rint(means))


def test_a_set_of_rectangles_says_what_its_crop_keeps(tmp_path, capsys):
    folder = a_folder(tmp_path / "images")
    images = data.load(str(folder), size="12x8")
    assert images.size == (8, 12) and images.pixels.shape == (60, 8, 12, 3)
    assert images.report is not None and images.report.cropped is None
    note = {"n": 40, "share": "44", "name": "02.png", "size": "12×8"}
    assert ("crop.to", note) in images.report.notes
    assert answer(["data", "check", str(folder), "--size", "12x8", "--lang", "en"]) == 0
    assert "not the ratio of 12×8 only the middle is kept: at the least 44 %" in (
        capsys.readouterr().out
    )
    np.testing.assert_array_equal(data.load(str(folder), size=(8, 12)).pixels, images.pixels)
    square = data.load(str(folder), size=8)
    assert square.report is not None and square.report.cropped == (40, 2 / 3, "00.png")
    with pytest.raises(UserError, match=r"A size must be .* not 12x\."):
        data.load(str(folder), size="12x")
    assert data.load("digits", size="8x4").size == (4, 8)


def drawn(count: int, height: int, width: int) -> np.ndarray:
    """Rectangles of one grey on another, each image's its own."""
    rng = np.random.default_rng(3)
    images = np.full((count, height, width, 1), 30, np.uint8)
    for image in images:
        for shade in (90, 160, 230):
            y, x = rng.integers(4, height - 10), rng.integers(4, width - 10)
            image[y : y + rng.integers(3, 10), x : x + rng.integers(3, 10)] = shade
    return images


@pytest.mark.parametrize("shape", [(24, 36), (36, 24), (48, 64)])
def test_copies_of_rectangles_are_found(shape):
    """Moved, mirrored and stored darker; others stay apart."""
    images = drawn(30, *shape)
    assert len(np.unique(near_duplicates(images))) == 30
    pixel = max(shape) // 32
    moved = np.roll(images, (pixel, -2 * pixel), (1, 2))
    for copies in (moved, images[:, :, ::-1], images // 4 * 3):
        groups = near_duplicates(np.concatenate([images, copies]))
        assert np.mean(groups[:30] == groups[30:]) >= 0.95
    assert max(shrunk(images).shape[1:3]) <= 32


def test_structure_of_rectangles_is_that_of_what_they_show():
    images = drawn(6, 24, 36)
    distances = structure_distances(images, images)
    assert distances.diagonal().max() < 1e-3
    assert (distances + torch.eye(6) > 0.2).all()
    moved = structure_distances(np.roll(images, (1, 2), (1, 2))[:, :, ::-1], images)
    assert moved.argmin(1).tolist() == list(range(6))


@pytest.mark.parametrize("dropped", [False, True])
def test_patches_of_a_rectangle_lie_where_they_were(dropped):
    """A row of patches more or less changes no position of the others; patches come back whole."""
    torch.manual_seed(0)
    network = PatchTransformer((8, 12), 3, patch=2, width=32, depth=2, heads=2)
    assert network.image_size == (8, 12) and network.token_grid == (4, 6)
    square = PatchTransformer(12, 3, patch=2, width=32, depth=2, heads=2)
    torch.testing.assert_close(network.position, square.position[:24], rtol=0, atol=0)
    x = torch.randn(2, 3, 8, 12)
    torch.testing.assert_close(network.unpatchify(network.patchify(x)), x, rtol=0, atol=0)
    keep = torch.stack([torch.randperm(24)[:10].sort()[0]] * 2) if dropped else None
    output = network(x, torch.rand(2), keep=keep, layers=("block-1", "block-2"))
    assert output.prediction.shape == x.shape
    assert output.features["block-2"].shape == (2, 24, 32)


@pytest.mark.parametrize("size", [(9, 12), (8, 13)])
def test_patches_that_do_not_fill_a_rectangle_are_refused(size):
    with pytest.raises(UserError, match=f"{times(size)} is not a multiple of the patch 2"):
        make_denoiser(NETWORK.validate_python({"patch": 2}), size, 3)


@pytest.mark.parametrize("policy", ["none", "crop-flip-jitter", "shift-flip"])
def test_views_of_a_rectangle_are_rectangles(policy):
    pixels = np.random.default_rng(0).integers(0, 256, (10, 8, 12, 3), np.uint8)
    source = Source(pixels, 0, 24, "cpu")
    batch = source.batch(Stream("images", views=2, policy=policy), 7, 6)
    assert batch.images.shape == batch.noise.shape == (12, 3, 8, 12)
    if policy == "none":
        places = source.indices(Stream("images"), 7, 6)
        torch.testing.assert_close(
            batch.images[::2], torch.from_numpy(pixels[places]).permute(0, 3, 1, 2) / 127.5 - 1
        )


def test_an_encoder_of_squares_sees_the_whole_of_a_rectangle():
    """What is drawn at an end changes the features, and vectors of pixels have all of them."""
    encoder = load_encoder("efficientnet-lite0", size=(8, 12))
    images = np.zeros((2, 8, 12, 3), np.uint8)
    images[1, :, 10:] = 255
    one, other = encoder.encode(images)
    assert np.abs(one - other).max() > 1e-2
    pixels = load_encoder("pixels", size=(8, 12), channels=3)
    assert pixels.dim == 8 * 12 * 3 and pixels.identity == "pixels 12x8 3"
    assert load_encoder("pixels", size=8, channels=1).identity == "pixels 8 1"


def test_a_recipe_says_a_square_as_a_number_and_keeps_its_digest():
    settings = {
        "method": "ddpm",
        "choices": choices_of(find("ddpm")).model_dump(mode="json"),
        "data": {"source": "x", "size": 32},
        "budget": {"images": 10},
    }
    number = Recipe.checked(settings, "a")
    for same in ("32", "32x32"):
        settings["data"] = {"source": "x", "size": same}
        assert Recipe.checked(settings, "a").to_toml() == number.to_toml()
    settings["data"] = {"source": "x", "size": "48x32"}
    oblong = Recipe.checked(settings, "a")
    assert oblong.data.size == "48x32" and oblong.digest != number.digest
    settings["data"] = {"source": "x", "size": "48x"}
    with pytest.raises(UserError, match=r"data\.size = '48x': it must be a whole number of pixels"):
        Recipe.checked(settings, "a")


def test_a_study_of_rectangles_from_start_to_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    a_folder(tmp_path / "images")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.toml").write_text(TINY)
    assert answer(["study", "study/study.toml", "--yes", "--lang", "en"]) == 0
    assert "12×8" in capsys.readouterr().out
    runs = sorted(tmp_path.rglob("run.json"))
    assert len(runs) == 2
    for run in runs:
        assert json.loads(run.read_text())["image_shape"] == [8, 12, 3]
    grids = sorted(tmp_path.rglob("samples-*.png"))
    assert grids
    for path in grids:
        grid = read_grid(path)
        assert grid.tiles.shape[1:] == (8, 12, 3)
        with Image.open(path) as image:
            assert image.size == (12 * min(8, len(grid.tiles)), 8 * math.ceil(len(grid.tiles) / 8))
    (study,) = (path.parent for path in tmp_path.rglob("study.json"))
    assert answer(["compare", "--study", str(study), "--lang", "en"]) == 0
    table = capsys.readouterr().out
    assert "Feature distance" in table and "not measured" not in table.partition("Feature")[2][:80]


@pytest.mark.parametrize(
    ("size", "said"),
    [("9x8", "9×8 is not a multiple of the patch 4"), ("12x", "WIDTHxHEIGHT"), ("2x8", "--size")],
)
def test_a_size_that_cannot_be_is_one_sentence(size, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    a_folder(tmp_path / "images", 30)
    given = ["images", "--size", size, "--budget", "64img", "--device", "cpu"]
    assert answer(["study", *given, "--columns", "ddpm", "--yes"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error, error
    for command in (["fit", "ddpm", "--data", *given], ["data", "check", *given[:3]]):
        if "patch" not in said:
            assert answer(command) == 2
            error = capsys.readouterr().err
            assert error.count("\n") == 1 and said in error, error


def test_a_u_net_draws_rectangles_that_its_levels_halve(tmp_path):
    folder = diffusers_folders.ddim(tmp_path / "base")
    base = find_base(str(folder))
    check_base(base, (8, 16), 1)
    check_base(base, 8, 1)
    with pytest.raises(UserError, match=r"rectangles whose sides are multiples of 2"):
        check_base(base, (9, 16), 1)
    with pytest.raises(UserError, match=r"draws 8×8"):
        check_base(base, 16, 1)
    dit = find_base(str(diffusers_folders.dit(tmp_path / "dit")))
    with pytest.raises(UserError, match=r"draws 16×16 colour; these images are 32×16"):
        check_base(dit, "32x16", 3)
    config = tmp_path / "dit" / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_size": [8, 16]}))
    with pytest.raises(UserError, match=r"sample_size = \[8, 16\]; a base draws square images"):
        find_base(str(tmp_path / "dit"))


def test_a_u_net_s_layers_lie_on_the_rectangle(tmp_path):
    folder = diffusers_folders.ddim(tmp_path / "base")
    settings = {
        "method": "lora",
        "choices": choices_of(find("lora")).model_dump(mode="json"),
        "data": {"source": "digits", "size": "8x4"},
        "budget": {"images": 32},
        "base": str(folder),
        "network": find_base(str(folder)).info["network"],
        "optimiser": {"batch": 16, "held_out_share": 1.0},
        "evaluation": {"loss_images": 16},
    }
    recipe = Recipe.checked(settings, "test")
    images = data.load("digits", size="8x4", limit=60)
    run = RunFolder(tmp_path / "run").create(recipe.to_toml(), {"id": "run"})
    train(recipe, images, data.split(images, 0), run)
    model = load_model(tmp_path / "run")
    assert model.image_size == (4, 8) and run.info["image_shape"] == [4, 8, 1]
    assert model.sample([1, 2], 5).shape == (2, 4, 8, 1)
    x_t, t = torch.randn(2, 1, 4, 8), torch.tensor([0.3, 0.8])
    for layer, tokens in model.features(x_t, t, model.feature_layers).items():
        assert tokens.shape[1] == math.prod(model.grid_of(layer))
    # Untrained it predicts what diffusers' own class does on such an image, whose step k is t.
    start = start_model(recipe, (4, 8), 1).denoiser.backbone
    with torch.inference_mode():
        theirs = diffusers_folders.unet()(x_t, t * 1000 - 1).sample
        own = start(x_t, t).prediction
    torch.testing.assert_close(own, theirs, rtol=1e-5, atol=1e-5)
    export(run, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "unet" / "config.json").read_text())["sample_size"] == [
        4, 8,
    ]  # fmt: skip
    assert find_base(str(tmp_path / "out")).image_size == (4, 8)


def test_a_network_that_knows_the_places_of_its_square_draws_no_rectangle(tmp_path):
    dit = str(diffusers_folders.dit(tmp_path / "dit"))
    for base, channels, size in ((dit, 3, (16, 32)), ("emoji-32", 3, (32, 48))):
        settings = {
            "method": "full-fine-tuning",
            "choices": choices_of(find("full-fine-tuning")).model_dump(mode="json"),
            "data": {"source": "x"},
            "budget": {"images": 32},
            "base": base,
            "network": network_of(find_base(base)),
        }
        with pytest.raises(UserError, match=r"knows the places of .* alone"):
            start_model(Recipe.checked(settings, "test"), size, channels)
