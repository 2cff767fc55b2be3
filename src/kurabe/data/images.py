"""The one form in which images travel: uint8 pixels with ids, groups and, where known, labels.

Pixels are (N, H, W, C) from 0 to 255, C = 1 (grey) or 3 (RGB); what a network sees of them is the
affair of `kurabe.spaces`. A group names what must stay on one side of a split:
drawings of one emoji, near-duplicates.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kurabe.data.grouping import draw_groups, group_draws
from kurabe.data.large import in_parts, taken
from kurabe.data.report import Report
from kurabe.errors import UserError
from kurabe.sizes import Sides

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
    def size(self) -> Sides:
        """Height and width in pixels."""
        return self.pixels.shape[1], self.pixels.shape[2]

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self.pixels.shape[3]

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """What each image is known by, uint64 (N,): a hash of its pixels alone.

        A grey image has the same key among colour ones.
        """
        return keys_of(self.pixels)

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits over pixels and which images share a group.

        Names are left out, since the same images elsewhere are the same images; labels too: a
        split and a run that see no labels must not depend on them.
        """
        _, first, members = np.unique(self.groups, return_index=True, return_inverse=True)
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        for part in in_parts(self.pixels):
            digest.update(np.ascontiguousarray(part).data)
        digest.update(first[members].astype("<i8").tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def labels_digest(self) -> str | None:
        """Sixteen hex digits over each image's label as text; None where no image has one."""
        if self.labels is None:
            return None
        places: list[int] = self.labels.tolist()
        names = [self.label_names[k] if k >= 0 else None for k in places]
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]

    def by_content(self) -> "ImageSet":
        """The same images in the order of their keys, which names and labels have no part in."""
        return self.subset(np.lexsort((np.array(self.ids), self.keys)))

    def subset(self, index: Sequence[int] | NDArray[np.int64]) -> "ImageSet":
        """The images at `index`, in that order; group numbers stay as they are."""
        rows = np.asarray(index, dtype=np.int64)
        places: list[int] = rows.tolist()
        return replace(
            self,
            pixels=taken(self.pixels, rows),
            ids=tuple(self.ids[i] for i in places),
            groups=self.groups[places],
            labels=None if self.labels is None else self.labels[places],
        )

    def limited(self, count: int, seed: int) -> "ImageSet":
        """At most `count` images, drawn by seed and content in whole groups, in their old order."""
        if count >= len(self):
            return self
        drawn = draw_groups(
            self.groups, count, group_draws(self.keys, self.groups, f"limit/{seed}")
        )
        if not drawn.any():
            raise UserError(f"A limit of {count} is smaller than each group in {self.name}.")
        return self.subset(np.flatnonzero(drawn).tolist())

    def reported(self, report: Report | None) -> "ImageSet":
        """The same images with a report."""
        return replace(self, report=report)


def keys_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """A hash of each image's pixels, uint64 (N,)."""
    hashes = b"".join(_hashes(part) for part in in_parts(pixels))
    return np.frombuffer(hashes, ">u8").astype(np.uint64)


def _hashes(pixels: NDArray[np.uint8]) -> bytes:
    """Eight bytes for each image."""
    grey = (pixels == pixels[..., :1]).all(axis=(1, 2, 3)).tolist()
    return b"".join(
        hashlib.blake2b((image[..., :1] if plain else image).tobytes(), digest_size=8).digest()
        for image, plain in zip(pixels, grey, strict=True)
    )


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
