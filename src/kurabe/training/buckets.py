"""Training images of several ratios: which a batch holds, so that all of it are of one size.

A stream's images in one update are a window of its positions, and all of a window are of one
bucket. With n_b training images in bucket b and w in a window, epoch e has the windows from
⌊e n_b / w⌋ to ⌊(e + 1) n_b / w⌋ of each bucket, in an order that is a permutation of (seed, e).
A bucket's windows are cut from its images, permuted anew each time that all were seen; what is
left of them at an epoch's end begins the bucket's next window. So after every epoch each image of
a bucket was seen as often as the others or once more, and after w epochs all were seen w times.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from typing_extensions import override

from kurabe.data import Buckets, ImageSet, Split, bucketed
from kurabe.errors import UserError
from kurabe.objectives.term import Stream
from kurabe.randomness import permutation
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.sizes import times
from kurabe.spaces import encoded_once
from kurabe.training.batches import Found, Shelf, Source, Told
from kurabe.training.bucket_sizes import bucket_sizes
from kurabe.training.model import Model


class BucketSource(Source):
    """Training images on a shelf for each bucket.

    bucket, row: int64 (n,), on which shelf each training image lies, and where there. window: how
    many images of a stream an update has, at most as many as any bucket that has some.
    """

    def __init__(
        self,
        shelves: Sequence[Shelf],
        bucket: NDArray[np.int64],
        row: NDArray[np.int64],
        window: Callable[[Stream], int],
        seed: int,
        device: torch.device | str,
        told: Told | None = None,
    ) -> None:
        self.seed, self.device, self.told = seed, device, told
        self.shelves, self.row, self.window = tuple(shelves), row, window
        self.members = [np.flatnonzero(bucket == at) for at in range(len(shelves))]
        self._turns = lru_cache(maxsize=2)(self._windows)
        self._order = lru_cache(maxsize=2 * len(shelves))(self._of_bucket)

    @override
    def found(self, stream: Stream, positions: range) -> Found:
        """Which images stand at these positions, all of one window."""
        window = self.window(stream)
        number, offset = divmod(positions.start, window)
        assert offset + len(positions) <= window
        at, turn = self._turn(stream.name, window, number)
        first = turn * window + offset
        which = np.array(
            [self._at(stream.name, at, k) for k in range(first, first + len(positions))], np.int64
        )
        return Found(self.shelves[at], which, self.row[which])

    def _turn(self, name: str, window: int, number: int) -> tuple[int, int]:
        """The bucket of a stream's window, and which of the bucket's windows it is."""
        epoch = number * window // sum(map(len, self.members))
        while self._before(epoch + 1, window) <= number:
            epoch += 1
        turns = self._turns(name, window, epoch)
        return turns[number - self._before(epoch, window)]

    def _before(self, epoch: int, window: int) -> int:
        """How many windows there are before an epoch."""
        return sum(epoch * len(of) // window for of in self.members)

    def _windows(self, name: str, window: int, epoch: int) -> list[tuple[int, int]]:
        turns = [
            (at, turn)
            for at, of in enumerate(self.members)
            for turn in range(epoch * len(of) // window, (epoch + 1) * len(of) // window)
        ]
        order: list[int] = permutation(self.seed, f"windows/{name}", epoch, len(turns)).tolist()
        return [turns[place] for place in order]

    def _at(self, name: str, at: int, place: int) -> int:
        """The training image at a place of a bucket's own order."""
        epoch, left = divmod(place, len(self.members[at]))
        return int(self._order(name, at, epoch)[left])

    def _of_bucket(self, name: str, at: int, epoch: int) -> NDArray[np.int64]:
        members = self.members[at]
        purpose = f"order/{name}/{times(self.shelves[at].space.image_size)}"
        return members[permutation(self.seed, purpose, epoch, len(members))]


def buckets_of(
    recipe: Recipe, model: Model, images: ImageSet, split: Split, folder: RunFolder
) -> Buckets | None:
    """A run's images in its buckets, of which its record tells; None where it has none.

    UserError where the run was begun on other ones: what lies beside the middle of an image is no
    part of the set's digest.
    """
    sizes = bucket_sizes(recipe, model.network, model.image_size)
    if not sizes:
        return None
    found = bucketed(images, recipe.data.source, sizes)
    if folder.exists and folder.info.get("buckets_digest", found.digest) != found.digest:
        raise UserError(
            f"{recipe.data.source} holds other images at the sides now than when {folder.path} was "
            "begun; put them back, or begin anew with --out."
        )
    if folder.exists and PartialState().is_main_process:
        folder.update(buckets=found.counts(split.train), buckets_digest=found.digest)
    return found


def shelves_of(buckets: Buckets, model: Model) -> tuple[Shelf, ...]:
    """What a network sees of each bucket's images."""
    of_pixel = math.prod(model.token_grid) / math.prod(model.image_size)
    shelves = list[Shelf]()
    for pixels, size in zip(buckets.pixels, buckets.sizes, strict=True):
        space = model.space.of_size(size)
        encoded = encoded_once(space, pixels) if space.cached else None
        shelves.append(Shelf(pixels, space, round(of_pixel * math.prod(size)), encoded))
    return tuple(shelves)


def check_full(buckets: Buckets, split: Split, batch: int) -> None:
    """UserError where a bucket has training images, but fewer than `batch`."""
    counts = buckets.counts(split.train)
    short = next((name for name, count in counts.items() if 0 < count < batch), None)
    if short is not None:
        raise UserError(
            f"data.aspects: {times(short)} has {counts[short]} training images, fewer than the "
            f"{batch} of a batch; leave its ratio out, or lower optimiser.batch."
        )
