"""The one form in which images travel: uint8 pixels with ids, groups and, where known, labels.

Pixels are (N, H, W, C) from 0 to 255, C = 1 (grey) or 3 (RGB); a network sees them as float32
(N, C, H, W) from −1 to 1, x = 2p/255 − 1. A group names what must stay on one side of a split:
drawings of one emoji, near-duplicates.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kurabe.data.grouping import draw_groups
from kurabe.data.report import Report
from kurabe.errors import UserError
from kurabe.randomness import generator

UNLABELLED = -1


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size and colour.

    pixels: uint8 (N, H, W, C). ids: N names, unique but in emoji-base. groups: int64 (N,), from
    0. labels: int64 (N,), an index into label_names or −1 where an image has none; None where no
    image has one.
    report: what was kept and dropped when a user's own images were read.
    """

    name: str
    pixels: NDArray[np.uint8]
    ids: tuple[str, ...]
    groups: NDArray[np.int64]
    labels: NDArray[np.int64] | None = None
    label_names: tuple[str, ...] = ()
    report: Report | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size(self) -> int:
        """Height and width in pixels; images are square."""
        return self.pixels.shape[1]

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self.pixels.shape[3]

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits over pixels, ids and groups.

        Labels are left out: a split and a run that see no labels must not depend on them.
        """
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        digest.update("\0".join(self.ids).encode())
        digest.update(np.ascontiguousarray(self.groups).data)
        return digest.hexdigest()[:16]

    def subset(self, index: Sequence[int] | NDArray[np.int64]) -> "ImageSet":
        """The images at `index`, in that order; group numbers stay as they are."""
        places: list[int] = np.asarray(index, dtype=np.int64).tolist()
        return replace(
            self,
            pixels=self.pixels[places],
            ids=tuple(self.ids[i] for i in places),
            groups=self.groups[places],
            labels=None if self.labels is None else self.labels[places],
        )

    def limited(self, count: int, seed: int) -> "ImageSet":
        """At most `count` images, drawn by seed in whole groups, in their old order."""
        if count >= len(self):
            return self
        drawn = draw_groups(self.groups, count, generator(seed, "limit"))
        if not drawn.any():
            raise UserError(f"A limit of {count} is smaller than each group in {self.name}.")
        return self.subset(np.flatnonzero(drawn).tolist())

    def reported(self, report: Report | None) -> "ImageSet":
        """The same images with a report."""
        return replace(self, report=report)

    def as_float(self) -> NDArray[np.float32]:
        """The images as a network sees them: float32 (N, C, H, W) from −1 to 1."""
        channels_first = np.ascontiguousarray(self.pixels.transpose(0, 3, 1, 2))
        return channels_first.astype(np.float32) * np.float32(2 / 255) - np.float32(1)


def concatenate(name: str, parts: Sequence[ImageSet]) -> ImageSet:
    """Join sets of one size, colour and numbering of groups and labels."""
    labels = None
    if all(part.labels is not None for part in parts):
        labels = np.concatenate([part.labels for part in parts if part.labels is not None])
    return ImageSet(
        name=name,
        pixels=np.concatenate([part.pixels for part in parts]),
        ids=tuple(name for part in parts for name in part.ids),
        groups=np.concatenate([part.groups for part in parts]),
        labels=labels,
        label_names=parts[0].label_names,
    )
