"""What the terms need, met once: images, views, times, noise and kept tokens of each stream.

Everything drawn is a function of (seed, purpose, position, view). A position counts a stream's
images from the start of the run; which image stands there is a permutation of (seed, epoch). So
neither a resumption nor the size of a micro-batch changes what the network sees.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kurabe.data.large import let_go
from kurabe.data.views import VIEWS, view
from kurabe.objectives.term import Batch, Drawn, Stream
from kurabe.randomness import generator, generators, normal, permutation, uniform
from kurabe.spaces import Pixels, Space

# Images between two times at which pixels on disk leave memory: each brought its surroundings in.
_LET_GO = 1024
# The golden ratio's fraction: multiples of it, modulo 1, lie more evenly than any others'.
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Told:
    """What may be told, one of which each image is.

    states: captions as a text encoder's states, float16 (texts, tokens, width), or the numbers of
    classes, int64 (classes + 1,). which: int64 (N,), what is said of each image. nothing: the
    place of what says nothing, which takes its place for the share `dropped` of images (Ho &
    Salimans 2022, "Classifier-free diffusion guidance", section 3.2).
    """

    states: NDArray[np.float16] | NDArray[np.int64]
    which: NDArray[np.int64]
    nothing: int
    dropped: float = 0.1


@dataclass(frozen=True, eq=False)
class Shelf:
    """Images of one size, where they lie.

    pixels: uint8 (N, H, W, C), which may lie on disk. space: what the network sees of an image.
    tokens: how many tokens the network has for one. encoded: what it sees of each image,
    (N, *shape), where that was computed before; views that change an image are not in it.
    """

    pixels: NDArray[np.uint8]
    space: Space
    tokens: int
    encoded: NDArray[np.float16] | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """Images that stand at the positions of a batch, all on one shelf.

    which: of the training images, int64 (B,). rows: where on the shelf, int64 (B,).
    """

    shelf: Shelf
    which: NDArray[np.int64]
    rows: NDArray[np.int64]


class Source:
    """Training images and the seed of a run, from which batches of any stream are drawn.

    pixels: uint8 (N, H, W, C), which may lie on disk. tokens: how many tokens the network has.
    space: what the network sees of an image; the pixels themselves where none is given. encoded:
    as of a shelf.
    told: what is said of each training image, where something is. places: int64 (n,), where the
    training images stand in pixels and encoded; all of them are where none are given.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        seed: int,
        tokens: int,
        device: torch.device | str,
        space: Space | None = None,
        encoded: NDArray[np.float16] | None = None,
        told: Told | None = None,
        places: NDArray[np.int64] | None = None,
    ) -> None:
        self.seed, self.device, self.told = seed, device, told
        _, height, width, channels = pixels.shape
        space = Pixels((height, width), channels) if space is None else space
        self.shelves: tuple[Shelf, ...] = (Shelf(pixels, space, tokens, encoded),)
        self.places = np.arange(len(pixels)) if places is None else places
        self._order = lru_cache(maxsize=2)(self._permutation)

    def batch(self, stream: Stream, first: int, count: int) -> Batch:
        """The batch of `count` images from position `first`; each image as stream.views views."""
        positions = range(first, first + count)
        if first // _LET_GO != (first + count) // _LET_GO:
            let_go(*(shelf.pixels for shelf in self.shelves))
        found = self.found(stream, positions)
        noise = self._noise(stream, positions, found.shelf.space.shape)
        seen = self._pixels(stream, positions, found) if stream.pixels else None
        return Batch(
            images=self._images(stream, positions, found),
            noise=self._to_device(noise),
            t=self._to_device(self._times(stream, positions, found.shelf)),
            keep=self._kept(stream, positions, found.shelf.tokens),
            condition=self._told(stream, positions, found.which),
            gap=self._gaps(stream, positions),
            pixels=None if seen is None else self._to_device(seen),
        )

    def found(self, stream: Stream, positions: range) -> Found:
        """Which images stand at these positions: an epoch is a permutation of all of them."""
        which = np.array([self._index(stream.name, position) for position in positions], np.int64)
        return Found(self.shelves[0], which, self.places[which])

    def plain(self, count: int) -> Tensor:
        """At most `count` training images, evenly among them, as the network sees them."""
        step = -(-len(self.places) // count)
        places = self.places[::step]
        (shelf,) = self.shelves
        if shelf.encoded is not None:
            return self._to_device(shelf.encoded[places]).float()
        return shelf.space.encode(shelf.pixels[places], self.device)

    def indices(self, stream: Stream, first: int, count: int) -> list[int]:
        """Which training images stand at these positions."""
        return self.found(stream, range(first, first + count)).which.tolist()

    def _index(self, name: str, position: int) -> int:
        epoch, place = divmod(position, len(self.places))
        return int(self._order(name, epoch)[place])

    def _permutation(self, name: str, epoch: int) -> NDArray[np.int64]:
        return permutation(self.seed, f"order/{name}", epoch, len(self.places))

    def _told(self, stream: Stream, positions: range, which: NDArray[np.int64]) -> Tensor | None:
        """What is said of each view: what is of its image, or at the stated rate nothing."""
        if self.told is None:
            return None
        dropped = uniform(self.seed, f"caption/{stream.name}", positions) < self.told.dropped
        states = np.where(dropped, self.told.nothing, self.told.which[which])
        said = self._to_device(self.told.states[states].repeat(stream.views, 0))
        return said.float() if said.is_floating_point() else said

    def _images(self, stream: Stream, positions: range, found: Found) -> Tensor:
        shelf = found.shelf
        if stream.policy != "none" or shelf.encoded is None:
            return shelf.space.encode(self._pixels(stream, positions, found), self.device)
        return self._to_device(shelf.encoded[found.rows].repeat(stream.views, 0)).float()

    def _pixels(self, stream: Stream, positions: range, found: Found) -> NDArray[np.uint8]:
        """Each view, uint8 (B, H, W, C)."""
        images = found.shelf.pixels
        if stream.policy == "none":
            return images[found.rows].repeat(stream.views, 0)
        rows: list[int] = found.rows.tolist()
        views = zip(positions, rows, strict=True)
        return np.concatenate([self._views(stream, at, images[row]) for at, row in views])

    def _views(self, stream: Stream, position: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        policy = VIEWS[stream.policy]
        purpose = f"view/{stream.name}"
        return np.stack(
            [
                view(image, generator(self.seed, purpose, position, v), policy)
                for v in range(stream.views)
            ]
        )

    def _noise(
        self, stream: Stream, positions: range, shape: tuple[int, ...]
    ) -> NDArray[np.float32]:
        purpose = f"noise/{stream.name}"
        views = [normal(self.seed, purpose, positions, shape, v) for v in range(stream.views)]
        return np.stack(views, axis=1).reshape(-1, *shape)

    def _times(self, stream: Stream, positions: range, shelf: Shelf) -> NDArray[np.float32]:
        """(B,), or (B, rows, columns) where tokens have one of several times."""
        if stream.levels == 1:
            return self._level(stream, positions)
        levels = [self._level(stream, positions, level) for level in range(stream.levels)]
        chosen = self._drawn(
            stream, "levels", positions, lambda g: g.integers(stream.levels, size=shelf.tokens)
        )
        times = np.take_along_axis(np.stack(levels, axis=1), chosen, axis=1)
        _, height, width = shelf.space.shape
        return times.reshape(len(times), round((shelf.tokens * height / width) ** 0.5), -1)

    def _level(self, stream: Stream, positions: range, level: int = 0) -> NDArray[np.float32]:
        """One time for each view, (B,)."""
        purpose = f"time/{stream.name}" + (f"/{level}" if level else "")
        if stream.views == 1:
            # Even spread over any window of positions lowers the gradient's variance (Kingma et
            # al. 2021, "Variational diffusion models", appendix I.1, do so within a batch).
            start = generator(self.seed, purpose).random()
            shares = (start + _GOLDEN * np.arange(positions.start, positions.stop)) % 1.0
        else:
            # Views of one image must not be told by their times: each is drawn by itself.
            drawn = [uniform(self.seed, purpose, positions, v) for v in range(stream.views)]
            shares = np.stack(drawn, axis=1).reshape(-1)
        times = stream.earliest + stream.law(shares) * (stream.latest - stream.earliest)
        return times.astype(np.float32)

    def _gaps(self, stream: Stream, positions: range) -> Tensor | None:
        if not stream.gap:
            return None
        purpose, views = f"gap/{stream.name}", range(stream.views)
        shares = [uniform(self.seed, purpose, positions, view) for view in views]
        return self._to_device(stream.gap * np.stack(shares, axis=1).reshape(-1))

    def _kept(self, stream: Stream, positions: range, tokens: int) -> Tensor | None:
        if stream.keep == 1.0:
            return None
        kept = max(1, round(stream.keep * tokens))
        rows = self._drawn(stream, "keep", positions, lambda g: g.permutation(tokens)[:kept])
        return self._to_device(np.sort(rows, axis=1))

    def _drawn(
        self,
        stream: Stream,
        purpose: str,
        positions: range,
        draw: Callable[[np.random.Generator], NDArray[np.int64]],
    ) -> NDArray[np.int64]:
        """What is drawn for each view, a row each, (B, …)."""
        purpose = f"{purpose}/{stream.name}"
        views = [
            [draw(g) for g in generators(self.seed, purpose, positions, view)]
            for view in range(stream.views)
        ]
        rows = np.stack(views, axis=1)
        return rows.reshape(-1, rows.shape[-1])

    def _to_device(self, array: NDArray) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.to(self.device, non_blocking=True)


@dataclass(frozen=True)
class Sources:
    """A run's training images, and those that its base drew for the streams that ask for them."""

    training: Source
    drawn: Mapping[Drawn, Source]

    def batch(self, stream: Stream, first: int, count: int) -> Batch:
        """The batch of `count` images of the stream's own source from position `first`."""
        return self._of(stream).batch(stream, first, count)

    def indices(self, stream: Stream, first: int, count: int) -> list[int]:
        """Which images of the stream's own source stand at these positions."""
        return self._of(stream).indices(stream, first, count)

    def _of(self, stream: Stream) -> Source:
        return self.training if stream.source is None else self.drawn[stream.source]
