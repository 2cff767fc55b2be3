"""Aspect buckets: which size an image is trained in, where it is read from, and when it is seen."""

import io
import math
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import diffusers_folders
import numpy as np
import pytest
import torch
from PIL import Image

from kurabe import data
from kurabe.backbones.patch import PatchTransformer
from kurabe.cli import answer
from kurabe.data import large
from kurabe.data.buckets import bucketed
from kurabe.data.decoding import decode
from kurabe.errors import UserError
from kurabe.methods import choices_of, find
from kurabe.objectives.term import Batch, Pass, Stream
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.runs.bases import find_base, network_of
from kurabe.sizes import Sides, aspects_of, bucket_sides, nearest, sides_of
from kurabe.spaces import Pixels
from kurabe.training import load_model, train
from kurabe.training.batches import Shelf
from kurabe.training.buckets import BucketSource
from kurabe.training.loop import update
from kurabe.training.model import start_model
from kurabe.training.run import Run, prepare

RATIOS = ("1:1", "3:2", "2:3")
# Height and width of the pictures in a folder, in turn.
SHAPES = ((16, 24), (20, 20), (24, 16), (18, 26))


def a_folder(place: Path, count: int = 60, grey: bool = False) -> Path:
    """Random pictures of several ratios."""
    place.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for k in range(count):
        shape = SHAPES[k % 4] if grey else (*SHAPES[k % 4], 3)
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(place / f"{k:02d}.png")
    return place


@pytest.mark.parametrize("size", [32, 64, 1024, "48x32"])
@pytest.mark.parametrize("multiple", [1, 4, 8])
def test_sides_are_the_nearest_multiples_of_the_closed_form(size, multiple):
    """w = s √r and h = s / √r have the ratio r and the area s²."""
    height, width = sides_of(size)
    s = math.sqrt(height * width)
    for text in ("1:1", "4:3", "3:2", "16:9", "2:1", "1:2"):
        (rows, columns), (w, h) = *bucket_sides(size, (text,), multiple), map(int, text.split(":"))
        assert rows % multiple == columns % multiple == 0
        assert abs(columns - s * math.sqrt(w / h)) <= multiple / 2
        assert abs(rows - s * math.sqrt(h / w)) <= multiple / 2


def test_sides_of_a_million_pixels_are_those_that_were_published():
    """Of Podell et al. (2024), "SDXL", appendix I, height and width: those of these ratios."""
    named = ("1:1", "4:3", "16:9", "9:16", "2:1", "1:4")
    published = ((1024, 1024), (896, 1152), (768, 1344), (1344, 768), (704, 1472), (2048, 512))
    assert bucket_sides(1024, named, 64) == published


def test_an_image_goes_to_the_nearest_ratio_and_of_two_as_near_to_the_first():
    buckets = bucket_sides(64, ("1:1", "3:2", "2:3", "21:9", "1:4"), 8)
    rng = np.random.default_rng(0)
    for height, width in np.exp(rng.uniform(0, 7, (2000, 2))).astype(int) + 1:
        apart = [abs(math.log(width / height / (w / h))) for h, w in buckets]
        assert nearest((int(height), int(width)), buckets) == int(np.argmin(apart))
    assert nearest((1, 1), ((4, 8), (8, 4))) == 0
    assert nearest((1, 1), ((8, 4), (4, 8))) == 0
    # From one to the other side the last bit must not decide.
    assert nearest((6, 6), ((9, 6), (6, 9))) == nearest((6, 6), ((6, 9), (9, 6))) == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["0:1"], "'0:1' is none"), (["a:b"], "'a:b' is none"), (["3"], "'3' is none"),
        (["1:1", "2:2"], "name each ratio once, and 2:2 is 1:1"), ([], "a list of ratios"),
        (["1:1:1"], "'1:1:1' is none"), ([1.5], "1.5 is none"), ("1:1,", "'' is none"),
        (["-3:2"], "'-3:2' is none"), (["99999:1"], "'99999:1' is none"), (3, "a list of ratios"),
    ],
)  # fmt: skip
def test_what_is_no_ratio_is_refused(given, said, tmp_path):
    with pytest.raises(ValueError, match=r"^must ") as raised:
        aspects_of(given)
    assert said in str(raised.value)
    with pytest.raises(UserError, match=r"^a: data\.aspects = .*: it must ") as refused:
        Recipe.checked({**settings_of("ddpm", "x"), "data": {"source": "x", "aspects": given}}, "a")
    assert "\n" not in str(refused.value) and said in str(refused.value)


@pytest.mark.parametrize(
    ("size", "named", "multiple", "said"),
    [
        (16, ("1:1", "9:10"), 4, "in steps of 4 pixels 1:1 and 9:10 of 16×16 are both 16×16"),
        (2048, ("2:1",), 8, "2:1 of 2048×2048 is 2896×1448"),
        (16, ("900:1",), 1, "900:1 of 16×16 is 480×1"),
    ],
)
def test_sizes_that_cannot_be_are_refused(size, named, multiple, said):
    with pytest.raises(ValueError, match="leave") as raised:
        bucket_sides(size, named, multiple)
    assert said in str(raised.value)


def by_pillow(image: Image.Image, sides: Sides) -> np.ndarray:
    """Cut in the middle to the largest part of that ratio, and resized."""
    height, width = sides
    least = min(image.width * height, image.height * width)
    w, h = round(least / height), round(least / width)
    left, top = (image.width - w) // 2, (image.height - h) // 2
    cut = image.crop((left, top, left + w, top + h))
    return np.asarray(cut.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3))


def test_pixels_of_a_bucket_are_those_that_pillow_cuts_and_resizes(tmp_path):
    folder = a_folder(tmp_path / "images")
    images = data.load(str(folder), size=16)
    sizes = bucket_sides(16, RATIOS, 2)
    assert sizes == ((16, 16), (14, 20), (20, 14))
    buckets = bucketed(images, str(folder), sizes)
    assert buckets.sizes == sizes
    for k, name in enumerate(images.ids):
        with Image.open(folder / name) as image:
            at = nearest((image.height, image.width), sizes)
            assert buckets.bucket[k] == at
            own = buckets.pixels[at][buckets.row[k]]
            np.testing.assert_array_equal(own, by_pillow(image, sizes[at]))
    assert buckets.counts(np.arange(60)) == {"16x16": 15, "20x14": 30, "14x20": 15}
    some = images.subset([7, 3, 50])
    again = bucketed(some, str(folder), sizes)
    assert again.bucket.tolist() == buckets.bucket[[7, 3, 50]].tolist()
    assert again.digest == bucketed(some, str(folder), sizes).digest != buckets.digest


def test_an_image_is_turned_before_its_bucket_is_chosen(tmp_path):
    image = Image.fromarray(np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    found = decode(file.getvalue(), lambda seen: (30, 20) if seen == (30, 20) else (8, 8))
    np.testing.assert_array_equal(found.pixels, np.rot90(np.asarray(image), -1))


def test_odd_images_have_buckets_too(tmp_path):
    """One pixel, 1:20 and 20:1, deep greys on the scale of the set, grey among colours, a copy."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(1)
    shapes = {"a": (1, 1), "b": (3, 60), "c": (60, 3), "d": (40, 20)}
    for name, shape in shapes.items():
        Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(folder / f"{name}.png")
    for k in range(2):
        deep = rng.integers(0, 4096, (20, 30), np.uint16)
        Image.fromarray(deep).save(folder / f"deep-{k}.png")
    Image.open(folder / "d.png").save(folder / "e.png")
    (folder / "f.png").write_bytes(b"no image")
    images = data.load(str(folder), size=8)
    sizes = bucket_sides(8, ("1:1", "3:2", "2:3"), 2)
    buckets = bucketed(images, str(folder), sizes)
    found = dict(zip(images.ids, buckets.bucket.tolist(), strict=True))
    assert found == {"a.png": 0, "b.png": 1, "c.png": 2, "d.png": 2, "deep-0.png": 1,
                     "deep-1.png": 1}  # fmt: skip
    place = images.ids.index("deep-0.png")
    deep = buckets.pixels[1][buckets.row[place]]
    with Image.open(folder / "deep-0.png") as image:
        numbers = np.asarray(image).astype(np.float32)
    theirs = by_pillow(Image.fromarray(numbers), sizes[1]) * (255 / 4095)
    np.testing.assert_allclose(deep[..., 0], theirs.clip(0, 255), atol=0.501)
    grey = data.load(str(folder), size=8, channels=1)
    shades = bucketed(grey, str(folder), sizes)
    assert [pixels.shape[3] for pixels in shades.pixels] == [1, 1, 1]
    empty = bucketed(images, str(folder), bucket_sides(8, ("9:4", "1:1", "4:9"), 2))
    assert empty.sizes[0] == (6, 12) and empty.counts(np.arange(6))["8x8"] == 1


def test_a_known_set_has_no_ratios():
    with pytest.raises(UserError, match=r"digits is a known set.*leave data\.aspects out\."):
        bucketed(data.load("digits"), "digits", ((8, 8),))


def test_buckets_are_read_once_and_where_they_lie(tmp_path, monkeypatch):
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    folder = a_folder(tmp_path / "images")
    images, sizes = data.load(str(folder), size=16), bucket_sides(16, RATIOS, 2)
    plain = bucketed(images, str(folder), sizes)
    files = sorted((tmp_path / "cache" / "images").iterdir())
    assert len(files) == 2
    monkeypatch.setattr("kurabe.data.buckets._decoded", None)
    monkeypatch.setattr(large, "IN_MEMORY", 0)
    mapped = bucketed(images, str(folder), sizes)
    for one, other in zip(plain.pixels, mapped.pixels, strict=True):
        np.testing.assert_array_equal(one, other)
        assert not other.flags.writeable and isinstance(other.base, np.memmap)
    assert mapped.digest == plain.digest


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts memory as Linux does")
def test_the_first_read_of_large_buckets_takes_a_part_of_their_pixels(tmp_path):
    """120 images of about 1024² pixels have 377 MB; what counts is the most that was resident."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for k in range(120):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        size = ((1024, 1024), (1254, 836), (836, 1254))[k % 3]
        coarse.resize(size, Image.Resampling.BILINEAR).save(tmp_path / "images" / f"{k}.jpg")
    reading = """
import sys
from kurabe.data import bucketed, load
from kurabe.sizes import bucket_sides
images = load(sys.argv[1], size=32)
sizes = bucket_sides(1024, ("1:1", "3:2", "2:3"), 8)
buckets = bucketed(images, sys.argv[1], sizes)
assert sum(map(len, buckets.pixels)) == 120 and buckets.sizes == sizes
lines = open("/proc/self/status").read().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""
    done = subprocess.run(
        [sys.executable, "-c", reading, str(tmp_path / "images")],
        env=os.environ | {"KURABE_CACHE": str(tmp_path / "cache")},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
    )
    assert int(done.stdout) * 1024 < 120 * 1024**2 * 3 * 0.8


def a_source(counts: tuple[int, ...], window: int, seed: int = 3) -> BucketSource:
    """Buckets of so many images, each of one grey that is its number among all."""
    sizes = ((8, 8), (6, 10), (10, 6))
    bucket = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    shelves, row = list[Shelf](), np.zeros(len(bucket), np.int64)
    for at, (count, (height, width)) in enumerate(zip(counts, sizes, strict=False)):
        members = np.flatnonzero(bucket == at)
        row[members] = np.arange(count)
        pixels = np.broadcast_to(
            members.astype(np.uint8)[:, None, None, None], (count, height, width, 1)
        )
        shelves.append(Shelf(pixels, Pixels((height, width), 1), height * width // 4))
    return BucketSource(shelves, bucket, row, lambda stream: window, seed, "cpu")


@pytest.mark.parametrize(
    ("counts", "window"),
    [((20, 30, 7), 6), ((8, 8), 8), ((13,), 4), ((5, 1, 1), 1), ((40, 0, 9), 9)],
)
def test_all_images_are_seen_equally_often(counts, window):
    """After each epoch as often as the others of the bucket or once more; after `window` epochs
    all of them so many times, where a window is no multiple of any bucket."""
    source, stream, total = a_source(counts, window), Stream("images"), sum(counts)
    bucket = np.concatenate([np.full(len(of), at) for at, of in enumerate(source.members)])
    members = np.concatenate(source.members)
    seen, position = Counter[int](), 0
    for epoch in range(1, window + 1):
        while position < sum(epoch * count // window for count in counts) * window:
            which = source.indices(stream, position, window)
            assert len({bucket[members == k].item() for k in which}) == 1
            seen.update(which)
            position += window
        for of in source.members:
            times = [seen[int(k)] for k in of]
            assert not times or (max(times) <= epoch and max(times) - min(times) <= 1), epoch
    assert position == window * total
    assert seen == Counter(dict.fromkeys(range(total), window))


def test_an_order_follows_from_seed_and_position_alone():
    stream, other = Stream("images"), Stream("views")
    source = a_source((20, 30, 7), 6)
    windows = [source.indices(stream, first, 6) for first in range(0, 600, 6)]
    backwards = [a_source((20, 30, 7), 6).indices(stream, f, 6) for f in range(594, -1, -6)]
    assert windows == backwards[::-1]
    # Parts of a window are parts of what it holds.
    for first, whole in zip(range(0, 60, 6), windows, strict=False):
        assert source.indices(stream, first, 2) + source.indices(stream, first + 2, 4) == whole
    assert windows != [a_source((20, 30, 7), 6, seed=4).indices(stream, f, 6)
                       for f in range(0, 600, 6)]  # fmt: skip
    assert windows != [source.indices(other, first, 6) for first in range(0, 600, 6)]
    # Buckets take turns by chance: of all pairs that follow one another some are of one, some not.
    sizes = [source.found(stream, range(f, f + 6)).shelf.pixels.shape for f in range(0, 600, 6)]
    same = sum(one == two for one, two in pairwise(sizes))
    assert 20 < same < 80


def test_a_batch_has_the_shape_of_its_bucket_in_all_that_it_holds():
    source = a_source((20, 30, 7), 6)
    stream = Stream("images", views=2, keep=0.5, levels=2, gap=0.1, pixels=True)
    shapes = set[tuple[int, ...]]()
    for first in range(0, 60, 6):
        batch = source.batch(stream, first, 6)
        height, width = batch.images.shape[2:]
        assert batch.images.shape == batch.noise.shape == (12, 1, height, width)
        assert batch.t.shape == (12, height // 2, width // 2)
        tokens = height * width // 4
        assert batch.keep is not None and batch.pixels is not None
        assert batch.keep.shape == (12, round(0.5 * tokens)) and int(batch.keep.max()) < tokens
        assert batch.pixels.shape == (12, height, width, 1)
        which = source.indices(stream, first, 6)
        np.testing.assert_array_equal(batch.pixels[::2, 0, 0, 0].numpy(), which)
        shapes.add((height, width))
    assert shapes == {(8, 8), (6, 10), (10, 6)}


@pytest.mark.parametrize("dropped", [False, True])
def test_a_network_that_takes_sizes_is_of_each_what_one_made_for_it_is(dropped):
    """The same weights, and the first rows and columns of its positions."""
    torch.manual_seed(0)
    network = PatchTransformer(8, 3, patch=2, width=32, depth=3, heads=2)
    own = network(x := torch.randn(2, 3, 8, 8), t := torch.rand(2)).prediction
    network.take_sizes(((6, 10), (12, 4)), trained=False)
    assert network.places == (6, 5) and network.token_grid == (4, 4)
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    assert own.shape == network(x, t).prediction.shape
    for height, width in ((8, 8), (6, 10), (12, 4)):
        alone = PatchTransformer((height, width), 3, patch=2, width=32, depth=3, heads=2)
        rows, columns = height // 2, width // 2
        position = network.position.unflatten(0, (6, 5))[:rows, :columns].flatten(0, 1)
        alone.load_state_dict({**network.state_dict(), "position": position})
        image = torch.randn(2, 3, height, width)
        keep = torch.stack([torch.randperm(rows * columns)[:7].sort()[0]] * 2) if dropped else None
        found, theirs = (
            of(image, t, keep=keep, layers=("block-1", "block-3")) for of in (network, alone)
        )
        torch.testing.assert_close(found.prediction, theirs.prediction, rtol=0, atol=0)
        torch.testing.assert_close(found.features, theirs.features, rtol=0, atol=0)
    with pytest.raises(ValueError, match="5×8 is not a multiple of the patch 2"):
        network.take_sizes(((8, 5),), trained=False)
    with pytest.raises(ValueError, match="knows the places of 8×8 alone"):
        network.take_sizes(((14, 4),), trained=True)
    network.take_sizes(((10, 10),), trained=True)


def settings_of(method: str, source: str, **more: object) -> dict[str, object]:
    return {
        "method": method,
        "choices": choices_of(find(method)).model_dump(mode="json"),
        "data": {"source": source, "size": 8, "aspects": RATIOS},
        "budget": {"images": 160},
        "network": {"patch": 2, "width": 32, "depth": 3, "heads": 2, "decoder": 1},
        "optimiser": {"batch": 8, "held_out_share": 1.0},
        "evaluation": {"loss_images": 8},
        **more,
    }


def test_a_recipe_without_ratios_is_what_it_was():
    told = Recipe.checked(settings_of("ddpm", "x"), "a")
    without = Recipe.checked({**settings_of("ddpm", "x"), "data": {"source": "x"}}, "a")
    assert told.data.aspects == RATIOS and told.digest != without.digest
    assert "aspects" not in without.to_toml()
    assert 'aspects = [\n    "1:1"' in told.to_toml()


@pytest.mark.parametrize("method", ["ddpm", "masked-diffusion"])
def test_a_run_from_scratch_goes_on_in_the_middle_of_an_epoch(method, tmp_path):
    """Nine updates, against four and, from their state, five; and again in micro-batches."""
    folder = a_folder(tmp_path / "images")
    images = data.load(str(folder), size=8)
    recipe = Recipe.checked(settings_of(method, str(folder)), "test")

    def begun(recipe: Recipe = recipe) -> Run:
        model = start_model(recipe, (8, 8), 3)
        parts = data.split(images, 0)
        place = RunFolder(tmp_path / "none")
        run = prepare(recipe, model, images, parts, place, lambda line: None)
        model.denoiser.train()
        return run

    whole, first = begun(), begun()
    for _ in range(9):
        update(whole)
    for _ in range(4):
        update(first)
    first.training.save(tmp_path / "state.safetensors")
    rest = begun()
    rest.training.load(tmp_path / "state.safetensors")
    for _ in range(5):
        update(rest)
    ends = [run.model.denoiser.state_dict() for run in (whole, rest)]
    assert all(torch.equal(weight, ends[1][name]) for name, weight in ends[0].items())
    few = {"batch": 8, "micro_batch": 2, "held_out_share": 1.0}
    parts = begun(Recipe.checked(settings_of(method, str(folder), optimiser=few), "test"))
    for _ in range(3):
        update(parts)
    once = begun()
    for _ in range(3):
        update(once)
    ends = [run.model.denoiser.state_dict() for run in (once, parts)]
    for name, weight in ends[0].items():
        torch.testing.assert_close(weight, ends[1][name], rtol=0, atol=2e-4)


def test_a_network_of_places_trains_and_is_loaded_again(tmp_path):
    folder = a_folder(tmp_path / "images")
    images = data.load(str(folder), size=8)
    recipe = Recipe.checked(settings_of("ddpm", str(folder)), "test")
    run = RunFolder(tmp_path / "run").create(recipe.to_toml(), {"id": "run"})
    parts = data.split(images, 0)
    model = train(recipe, images, parts, run)
    assert run.info["image_shape"] == [8, 8, 3]
    counts = run.info["buckets"]
    assert set(counts) == {"8x8", "10x6", "6x10"} and sum(counts.values()) == len(parts.train)
    again = load_model(tmp_path / "run")
    assert again.state_digest() == model.state_digest()
    np.testing.assert_array_equal(again.sample([1, 2], 4), model.sample([1, 2], 4))
    # As a base it draws its square, and knows the places that it was trained on.
    tuned = settings_of("full-fine-tuning", str(folder), base=str(tmp_path / "run"))
    assert start_model(Recipe.checked(tuned, "test"), 8, 3).image_size == (8, 8)
    tuned["data"] = {"source": str(folder), "size": 8, "aspects": ("4:1",)}
    with pytest.raises(UserError, match=r"does not take: it knows the places of 8×8 alone; leave"):
        start_model(Recipe.checked(tuned, "test"), 8, 3)


def test_other_sides_than_those_that_a_run_was_begun_on_are_seen(tmp_path):
    """What lies outside the middle is no part of the set's digest."""
    folder = a_folder(tmp_path / "images")
    images = data.load(str(folder), size=8)
    recipe = Recipe.checked(settings_of("ddpm", str(folder)), "test")
    run = RunFolder(tmp_path / "run").create(recipe.to_toml(), {"id": "run"})
    parts = data.split(images, 0)
    train(recipe, images, parts, run)
    with Image.open(folder / "00.png") as image:
        changed = np.array(image)
    changed[:, :2] = 0
    Image.fromarray(changed).save(folder / "00.png")
    assert data.load(str(folder), size=8).digest == images.digest
    with pytest.raises(UserError, match=r"other images at the sides now than when .*run was begun"):
        train(recipe, images, parts, run)


TERMS = (
    "ddpm", "masked-diffusion", "maskfeat-diffusion", "contrastive-diffusion", "sra",
    "dispersive-loss", "internal-guidance", "self-supervised-diffusion-model",
)  # fmt: skip


@pytest.mark.parametrize("method", TERMS)
def test_what_trains_from_scratch_trains_in_buckets(method, tmp_path):
    """Every term on each of the sizes, all losses finite; features lie on the grid that is said."""
    folder = a_folder(tmp_path / "images", 120)
    images = data.load(str(folder), size=8)
    batch = {"batch": 16, "held_out_share": 1.0}
    told = settings_of(method, str(folder), optimiser=batch)
    for term in told["choices"]["objective"]:
        term |= {"comparison_batch": 4} if "comparison_batch" in term else {}
    recipe = Recipe.checked(told, "test")
    model = start_model(recipe, (8, 8), 3)
    run = prepare(
        recipe,
        model,
        images,
        data.split(images, 0),
        RunFolder(tmp_path / "none"),
        lambda line: None,
    )
    model.denoiser.train()
    shapes = set[tuple[int, ...]]()
    for _ in range(8):
        streams = run.objective.streams(run.share)
        batches = run.batches(streams, run.training.progress.positions, 0)
        shapes |= {tuple(of.images.shape[2:]) for of in batches.values()}
        losses, norm = update(run)
        assert all(loss.isfinite() for loss in losses.values()) and norm.isfinite()
    assert shapes == {(8, 8), (6, 10), (10, 6)}


@pytest.mark.parametrize("kind", ["patch", "unet"])
def test_features_of_a_bucket_lie_on_the_grid_that_is_said(kind, tmp_path):
    """Four times as many columns as rows, as the image has pixels; as many cells as tokens."""
    if kind == "unet":
        model = load_model(diffusers_folders.ddim(tmp_path / "base"))
        model.denoiser.backbone.take_sizes(((4, 16),), trained=True)
    else:
        told = settings_of("ddpm", "x", data={"source": "x", "size": 8, "aspects": ("4:1",)})
        model = start_model(Recipe.checked(told, "test"), 8, 1)
    x_t, t = torch.linspace(-1, 1, 16).expand(1, 1, 4, 16), torch.tensor([0.5])
    layers = model.feature_layers
    features = model.features(x_t, t, layers)
    batch = Batch(x_t, x_t, t)
    own = Pass(batch, x_t, None, features, model.denoiser)
    for layer in layers:
        rows, columns = own.grid_of(layer)
        assert rows * columns == features[layer].shape[1] and columns == 4 * rows


def test_a_term_of_one_size_is_refused():
    with pytest.raises(UserError, match=r"the term encoder-alignment of repa takes images of one"):
        Recipe.checked(settings_of("repa", "x"), "test")


@pytest.mark.parametrize(("base", "channels"), [("dit", 3), ("emoji-32", 3)])
def test_a_base_that_knows_places_is_refused(base, channels, tmp_path):
    if base == "dit":
        base = str(diffusers_folders.dit(tmp_path / "dit"))
    size = find_base(base).image_size
    told = settings_of("full-fine-tuning", "x", base=base, network=network_of(find_base(base)))
    with pytest.raises(UserError, match=r"data\.aspects asks .* alone; leave it out, or take"):
        start_model(Recipe.checked(told, "test"), size, channels)


def test_too_few_images_for_a_batch_and_sizes_that_are_one_are_told_in_a_sentence(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    a_folder(tmp_path / "images")
    fit = [
        "fit",
        "ddpm",
        "--data",
        "images",
        "--size",
        "16",
        "--budget",
        "64img",
        "--device",
        "cpu",
    ]
    for given, said in (
        (["--aspects", "1:1,9:10"], "in steps of 4 pixels 1:1 and 9:10 of 16×16 are both 16×16"),
        (["--aspects", "0:1"], "--aspects"),
        (["--aspects", "1:1,2:2"], "must name each ratio once, and 2:2 is 1:1"),
        (["--aspects", "1:1,2:3"], "training images, fewer than the 32 of a batch; leave its"),
        (["--set", "data.aspects=3"], "data.aspects = 3: it must be a list of ratios"),
    ):
        assert answer([*fit, *given]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and said in error, error
    check = ["data", "check", "images", "--size", "16", "--lang", "en", "--aspects"]
    assert answer([*check, "1:1,3:2,2:3,9:1"]) == 0
    assert "16×16 15, 20×13 30, 13×20 15, 48×5 0" in capsys.readouterr().out
    assert answer([*check, "3:0"]) == 2
