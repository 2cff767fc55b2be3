"""Images in buckets: each in the one whose ratio is nearest to its own, covering it, cut in the
middle (NovelAI 2022, "NovelAI improvements on Stable Diffusion").

Beside the set of one size, which is what evaluation sees, the same images with less cut off. They
are decoded once and kept as the set is: one array for each bucket, read where it is used.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kurabe.data.cache import Arrays, as_bytes, read, write
from kurabe.data.images import ImageSet, keys_of
from kurabe.data.known import named
from kurabe.data.large import each_part
from kurabe.data.preflight import unique
from kurabe.data.reading import Canvas, decoded
from kurabe.data.resize import recoloured
from kurabe.data.sources import fingerprint, opened
from kurabe.errors import UserError, shown
from kurabe.sizes import Sides, nearest, setting_of, times


@dataclass(frozen=True, eq=False)
class Buckets:
    """The images of a set of N, each in one bucket.

    pixels: uint8 (n, H, W, C) of each bucket, which may lie on disk and hold others besides.
    bucket, row: int64 (N,), in which bucket each image is, and where there. keys: uint64 (N,), a
    hash of each image's pixels.
    """

    pixels: tuple[NDArray[np.uint8], ...]
    bucket: NDArray[np.int64]
    row: NDArray[np.int64]
    keys: NDArray[np.uint64]

    @property
    def sizes(self) -> tuple[Sides, ...]:
        """Height and width of each bucket."""
        return tuple((of.shape[1], of.shape[2]) for of in self.pixels)

    @property
    def digest(self) -> str:
        """Sixteen hex digits over sizes and pixels, in the set's order."""
        told = f"{self.sizes} {self.bucket.tolist()} {self.keys.tolist()}"
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def counts(self, index: NDArray[np.int64]) -> dict[str, int]:
        """How many of the images at `index` each bucket has, by "WIDTHxHEIGHT", in their order."""
        found: list[int] = np.bincount(self.bucket[index], minlength=len(self.pixels)).tolist()
        names = (f"{width}x{height}" for height, width in self.sizes)
        return dict(zip(names, found, strict=True))


def listed(counts: Mapping[str, int]) -> str:
    """How many images each bucket has, in words."""
    return ", ".join(f"{times(size)} {count:,}" for size, count in counts.items())


def bucketed(images: ImageSet, source: str, sizes: Sequence[Sides]) -> Buckets:
    """The images of a set that was loaded from `source`, in buckets of these sizes.

    UserError where the source has no files with ratios of their own, or one of them can no longer
    be read.
    """
    if source in named.available():
        raise UserError(
            f"{source} is a known set, whose images all have one ratio; leave data.aspects out."
        )
    path = Path(source).expanduser()
    scales = {} if images.report is None else images.report.scales
    key = {
        "path": str(path.resolve()),
        "content": fingerprint(path),
        "buckets": [setting_of(size) for size in sizes],
        "channels": images.channels,
        "scales": scales,
    }
    stored = read(key)
    if stored is None:
        stored = _decoded(path, sizes, images.channels, scales)
        if images.report is None or images.report.complete:
            stored = write(key, stored)
    return _of_set(images, stored, source)


def _decoded(path: Path, sizes: Sequence[Sides], channels: int, scales: dict[str, float]) -> Arrays:
    """All that can be read: pixels and keys of each bucket, and the names as the set has them."""
    canvases = [Canvas(size, len(sizes)) for size in sizes]
    places, names = list[tuple[int, int]](), list[str]()
    filled = [0] * len(sizes)
    largest = max(sizes, key=lambda size: size[0] * size[1])
    with opened(path) as listing:
        for entry, found in decoded(listing, lambda seen: sizes[nearest(seen, sizes)], largest):
            if isinstance(found, str):
                continue
            at = sizes.index((found.pixels.shape[0], found.pixels.shape[1]))
            canvases[at].add(found)
            places.append((at, filled[at]))
            names.append(shown(entry.name))
            filled[at] += 1
    whites = {kind == "floating": scale for kind, scale in scales.items()}
    arrays: Arrays = {"meta": as_bytes(unique(names))}
    for at, canvas in enumerate(canvases):
        pixels = canvas.pixels(whites)
        if channels == 1:
            pixels = each_part(pixels, lambda part: recoloured(part, 1)) if filled[at] else pixels
            pixels = pixels[..., :1]
        arrays |= {f"pixels-{at}": pixels, f"keys-{at}": keys_of(pixels)}
    return arrays | {"places": np.array(places, np.int64).reshape(-1, 2)}


def _of_set(images: ImageSet, stored: Arrays, source: str) -> Buckets:
    names: list[str] = json.loads(stored["meta"].tobytes())
    places = dict(zip(names, stored["places"].tolist(), strict=True))
    lost = next((name for name in images.ids if name not in places), None)
    if lost is not None:
        raise UserError(
            f"{shown(source)}: {shown(lost)} cannot be read in its own ratio, only its middle; "
            "store it anew, or leave data.aspects out."
        )
    bucket, row = np.array([places[name] for name in images.ids], np.int64).reshape(-1, 2).T
    count = sum(name.startswith("pixels-") for name in stored)
    pixels = tuple(stored[f"pixels-{at}"] for at in range(count))
    keys = np.zeros(len(images), np.uint64)
    for at in range(len(pixels)):
        keys[bucket == at] = stored[f"keys-{at}"][row[bucket == at]]
    return Buckets(pixels, bucket, row, keys)
