"""Pixels that lie on disk are the same numbers, and no test or record tells that they do."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kurabe.data import ImageSet, Traces, large, split
from kurabe.data import cache as stored
from kurabe.data.cache import cached
from kurabe.data.preflight import read_images
from kurabe.objectives.term import Stream
from kurabe.training.batches import Source


@pytest.fixture
def on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and nothing that fits into memory."""
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path))
    for module in (large, stored):
        monkeypatch.setattr(module, "IN_MEMORY", 0)
    monkeypatch.setattr(large, "AT_ONCE", 7)
    return tmp_path


def made(channels: int = 3) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 8, 8, channels), np.uint8)
    return ImageSet("some", pixels, tuple(map(str, range(60))), np.arange(60))


def is_mapped(pixels: np.ndarray) -> bool:
    beneath: object = pixels
    while isinstance(beneath, np.ndarray):
        beneath = beneath.base
    return type(beneath).__name__ == "mmap"


def never() -> ImageSet:
    raise AssertionError("it was in the cache")


@pytest.mark.parametrize("channels", [1, 3])
def test_images_on_disk_are_those_in_memory(on_disk: Path, channels: int) -> None:
    plain = made(channels)
    assert is_mapped(cached({"some": channels}, lambda: plain).pixels)
    images = cached({"some": channels}, never)
    assert is_mapped(images.pixels) and not images.pixels.flags.writeable
    np.testing.assert_array_equal(images.pixels, plain.pixels)
    np.testing.assert_array_equal(images.keys, plain.keys)
    assert images.digest == plain.digest
    one, other = images.by_content(), plain.by_content()
    assert one.ids == other.ids
    np.testing.assert_array_equal(one.pixels, other.pixels)
    some = np.array([5, 3, 40])
    traces = Traces.of_some(images, some), Traces.of(plain.subset(some))
    np.testing.assert_array_equal(traces[0].signatures, traces[1].signatures)
    np.testing.assert_array_equal(traces[0].keys, traces[1].keys)


def test_an_order_of_images_on_disk_leaves_no_file_behind(on_disk: Path) -> None:
    images = cached({"some": 3}, made)
    before = sorted(on_disk.rglob("*"))
    taken = images.by_content()
    assert sorted(on_disk.rglob("*")) == before
    kept = taken.pixels.copy()
    del images
    np.testing.assert_array_equal(taken.pixels, kept)


@pytest.mark.parametrize("policy", ["none", "crop-flip-jitter"])
def test_batches_are_drawn_from_the_training_images_where_they_lie(
    on_disk: Path, policy: str
) -> None:
    """As from a copy of the training images by themselves, over the end of an epoch."""
    images = cached({"some": 3}, made)
    train = split(images, 0).train
    stream = Stream("images", views=2, policy=policy)
    one = Source(images.pixels, 0, 4, "cpu", places=train)
    other = Source(made().pixels[train], 0, 4, "cpu")
    for first in (0, len(train) - 3, 1022):
        assert one.batch(stream, first, 6).images.equal(other.batch(stream, first, 6).images)


def a_folder(place: Path) -> Path:
    """Photographs, copies of them, a near-copy, labels, deep greys and a file that is none."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (place / name).mkdir(parents=True)
    for k in range(30):
        image = Image.fromarray(rng.integers(0, 256, (12, 9, 3), np.uint8))
        image.save(place / "ab"[k % 2] / f"{k:02d}.png")
        if k < 3:
            image.save(place / "ab"[k % 2] / f"again-{k}.png")
    shade = np.tile(np.linspace(0, 240, 24).astype(np.uint8), (24, 1))
    Image.fromarray(shade).save(place / "a" / "shade.png")
    Image.fromarray(shade[:, ::-1].copy()).save(place / "b" / "mirrored.png")
    for k in range(4):
        deep = rng.integers(0, 4096, (10, 10), np.uint16)
        Image.fromarray(deep).save(place / "b" / f"deep-{k}.png")
    (place / "a" / "broken.png").write_bytes(b"no image")
    return place


def as_savez(images: ImageSet) -> bytes:
    file = io.BytesIO()
    stored._write(stored._arrays_of(images), file)
    with np.load(io.BytesIO(file.getvalue())) as arrays:
        assert "pixels" in arrays
        again = io.BytesIO()
        np.savez(again, allow_pickle=False, **{name: arrays[name] for name in arrays.files})
    assert again.getvalue() == file.getvalue()
    return file.getvalue()


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("grey", [False, True])
def test_a_folder_read_to_disk_gives_the_same_file_as_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grey: bool, copies: bool
) -> None:
    """Pixels, names, labels, groups and report, to the last byte; and as numpy itself writes."""
    folder = a_folder(tmp_path / "images")
    if grey:
        for file in folder.rglob("[0-9a]*.png"):
            if file.name != "broken.png":
                Image.open(file).convert("L").save(file)
    plain = read_images(folder, 8, copies=copies)
    assert len(plain) == (39 if copies else 36) and plain.channels == (1 if grey else 3)
    assert plain.report is not None
    assert plain.report.near_duplicates and plain.report.scales == {"whole": 4095.0}
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(large, "IN_MEMORY", 0)
    monkeypatch.setattr(large, "AT_ONCE", 500)
    images = read_images(folder, 8, copies=copies)
    assert is_mapped(images.pixels) and not is_mapped(plain.pixels)
    assert as_savez(images) == as_savez(plain)
    assert not list((tmp_path / "cache").rglob("*"))


def test_rows_that_a_disk_refuses_stay_in_memory(on_disk: Path) -> None:
    """The system lets no file grow beyond 4,000 bytes: two rows of 1,536 lie on disk by then."""
    limited = """
import resource, sys
import numpy as np
from kurabe.data import large
large.IN_MEMORY = large.AT_ONCE = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
rows = np.random.default_rng(0).integers(0, 256, (9, 1536), np.uint8)
found = large.Growing((1536,), np.uint8)
for k in range(9):
    found.append(rows[k : k + 1])
    np.testing.assert_array_equal(found.array(), rows[: k + 1])
    print(isinstance(found.array().base, np.memmap), end=" ")
np.testing.assert_array_equal(large.taken(rows, np.array([8, 0, 3, 3])), rows[[8, 0, 3, 3]])
"""
    if sys.platform == "win32":
        pytest.skip("Windows has no such limit")
    done = subprocess.run(
        [sys.executable, "-c", limited], check=True, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["True"] * 2 + ["False"] * 7


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counts memory as Linux does")
def test_the_first_read_of_large_images_takes_a_part_of_their_pixels(tmp_path: Path) -> None:
    """120 images of 1024×1024 have 377 MB of pixels. What counts is VmHWM, the most that was ever
    resident, what was mapped from files included; 60 MB of it are the program itself."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for k in range(120):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        image = coarse.resize((1024, 1024), Image.Resampling.BILINEAR)
        image.save(tmp_path / "images" / f"{k}.jpg")
    reading = """
import sys
from kurabe.data import load
images = load(sys.argv[1], size=1024)
assert images.pixels.shape == (120, 1024, 1024, 3), images.pixels.shape
images.digest, images.keys
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
