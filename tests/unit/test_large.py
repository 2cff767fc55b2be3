"""Pixels that lie on disk are the same numbers, and no test or record tells that they do."""

from pathlib import Path

import numpy as np
import pytest

from kurabe.data import ImageSet, Traces, large, split
from kurabe.data import cache as stored
from kurabe.data.cache import cached
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
