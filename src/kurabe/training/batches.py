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


class Source:
    """Training images and the seed of a run, from which batches of any stream are drawn.

    pixels: uint8 (N, H, W, C), which may lie on disk. tokens: how many tokens the network has.
    space: what the network sees of an image; the pixels themselves where none is given. encoded:
    what it sees of each image, (N, *shape), where that was computed before; views that change an
    image are not in it.
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
        self.pixels, self.seed, self.tokens, self.device = pixels, seed, tokens, device
        _, height, width, channels = pixels.shape
        self.space = Pixels((height, width), channels) if space is None else space
        self.encoded, self.told = encoded, told
        self.places = np.arange(len(pixels)) if places is None else places
        self._order = lru_cache(maxsize=2)(self._permutation)

    def batch(self, stream: Stream, first: int, count: int) -> Batch:
        """The batch of `count` images from position `first`; each image as stream.views views."""
        positions = range(first, first + count)
        if first // _LET_GO != (first + count) // _LET_GO:
            let_go(self.pixels)
        noise = self._noise(stream, positions, self.space.shape)
        return Batch(
            images=self._images(stream, positions),
            noise=self._to_device(noise),
            t=self._to_device(self._times(stream, positions)),
            keep=self._kept(stream, positions),
            condition=self._told(stream, positions),
            gap=self._gaps(stream, positions),
            pixels=self._to_device(self._pixels(stream, positions)) if stream.pixels else None,
        )

    def _told(self, stream: Stream, positions: range) -> Tensor | None:
        """What is said of each view: what is of its image, or at the stated rate nothing."""
        if self.told is None:
            return None
        places = [self._index(stream.name, position) for position in positions]
        dropped = uniform(self.seed, f"caption/{stream.name}", positions) < self.told.dropped
        which = np.where(dropped, self.told.nothing, self.told.which[places])
        said = self._to_device(self.told.states[which].repeat(stream.views, 0))
        return said.float() if said.is_floating_point() else said

    def _images(self, stream: Stream, positions: range) -> Tensor:
        if stream.policy != "none" or self.encoded is None:
            return self.space.encode(self._pixels(stream, positions), self.device)
        known = self.encoded[self._places(stream, positions)]
        return self._to_device(known.repeat(stream.views, 0)).float()

    def _pixels(self, stream: Stream, positions: range) -> NDArray[np.uint8]:
        """Each view, uint8 (B, H, W, C)."""
        if stream.policy != "none":
            return np.concatenate([self._views(stream, position) for position in positions])
        return self.pixels[self._places(stream, positions)].repeat(stream.views, 0)

    def _places(self, stream: Stream, positions: range) -> NDArray[np.int64]:
        return self.places[[self._index(stream.name, position) for position in positions]]

    def plain(self, count: int) -> Tensor:
        """At most `count` training images, evenly among them, as the network sees them."""
        step = -(-len(self.places) // count)
        places = self.places[::step]
        if self.encoded is not None:
            return self._to_device(self.encoded[places]).float()
        return self.space.encode(self.pixels[places], self.device)

    def indices(self, stream: Stream, first: int, count: int) -> list[int]:
        """Which training images stand at these positions."""
        return [self._index(stream.name, position) for position in range(first, first + count)]

    def _index(self, name: str, position: int) -> int:
        epoch, place = divmod(position, len(self.places))
        return int(self._order(name, epoch)[place])

    def _permutation(self, name: str, epoch: int) -> NDArray[np.int64]:
        return permutation(self.seed, f"order/{name}", epoch, len(self.places))

    def _views(self, stream: Stream, position: int) -> NDArray[np.uint8]:
        image = self.pixels[self.places[self._index(stream.name, position)]]
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

    def _times(self, stream: Stream, positions: range) -> NDArray[np.float32]:
        """(B,), or (B, rows, columns) where tokens have one of several times."""
        if stream.levels == 1:
            return self._level(stream, positions)
        levels = [self._level(stream, positions, level) for level in range(stream.levels)]
        chosen = self._drawn(
            stream, "levels", positions, lambda g: g.integers(stream.levels, size=self.tokens)
        )
        times = np.take_along_axis(np.stack(levels, axis=1), chosen, axis=1)
        _, height, width = self.space.shape
        return times.reshape(len(times), round((self.tokens * height / width) ** 0.5), -1)

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

    def _kept(self, stream: Stream, positions: range) -> Tensor | None:
        if stream.keep == 1.0:
            return None
        kept = max(1, round(stream.keep * self.tokens))
        rows = self._drawn(stream, "keep", positions, lambda g: g.permutation(self.tokens)[:kept])
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
