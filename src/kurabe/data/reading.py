"""Decoding all that a source holds: pixels into one array, what was met into counts.

No mathematics of its own; the scale of deep greys is `kurabe.data.scales`'s.
"""

import math
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kurabe.data.decoding import Decoded, Fit, UnreadableError, decode
from kurabe.data.entries import Entry, Listing, of_the_file
from kurabe.data.large import AT_ONCE, Growing, let_go, parts
from kurabe.data.report import CLOSED
from kurabe.data.scales import Deep, scaled, scales_of
from kurabe.errors import shown
from kurabe.sizes import Sides, Size, sides_of

MOST = 256


@dataclass(frozen=True, eq=False)
class Read:
    """entries: what could be read, in the source's order. pixels: uint8 (N, H, W, 3). sizes,
    modes, treated, cropped, scales: as in a Report."""

    entries: list[Entry]
    pixels: NDArray[np.uint8]
    sizes: dict[tuple[int, int], int]
    modes: dict[str, int]
    treated: dict[str, int]
    cropped: tuple[int, float, str] | None
    scales: dict[bool, float]


class Canvas:
    """Images of one size that come one after another; deep greys wait for the set's scale.

    shared: among how many such the memory is shared out.
    """

    def __init__(self, size: Size, shared: int = 1) -> None:
        self._sides = sides_of(size)
        self._pixels = Growing((*self._sides, 3), np.uint8, shared)
        self._deep, self._numbers = dict[int, Deep](), Growing(self._sides, np.float32, shared)
        self._count = 0

    def add(self, image: Decoded) -> None:
        """Take one more image."""
        shown = np.zeros((1, *self._sides, 3), np.uint8)
        if image.deep is None:
            shown[0] = image.pixels
        else:
            self._deep[self._count] = image.deep
            self._numbers.append(np.asarray(image.pixels, np.float32)[None])
        self._pixels.append(shown)
        self._count += 1

    @property
    def scales(self) -> dict[bool, float]:
        """The full scale of deep greys, as `scales_of` gives it."""
        return scales_of(self._deep.values())

    def pixels(self, scales: dict[bool, float] | None = None) -> NDArray[np.uint8]:
        """All images as (N, H, W, 3); deep ones by those scales, else by their own."""
        pixels, numbers = self._pixels.array(), self._numbers.array()
        scales = self.scales if scales is None else scales
        if not self._deep:
            return pixels
        whole, places = Growing(pixels.shape[1:], np.uint8), np.array(list(self._deep))
        for part in parts(len(pixels), pixels[:1].nbytes):
            block = pixels[part].copy()
            first, last = np.searchsorted(places, (part.start, part.stop)).tolist()
            for k in range(first, last):
                at = int(places[k])
                block[at - part.start] = scaled(numbers[k], self._deep[at], scales)[..., None]
            whole.append(block)
            let_go(pixels, numbers)
        return whole.array()


def read_all(listing: Listing, size: Sides) -> Read:
    """Decode what can be read; what cannot is noted in listing.dropped."""
    entries, canvas = list[Entry](), Canvas(size)
    sizes, modes, treated = Counter[tuple[int, int]](), Counter[str](), Counter[str]()
    cut, least = 0, (1.0, "")
    for entry, found in decoded(listing, lambda seen: size, size):
        if isinstance(found, str):
            listing.dropped.append((entry.name, found))
            listing.rows_dropped += entry.row
            continue
        canvas.add(found)
        entries.append(replace(entry, read=bytes))
        sizes[found.width, found.height] += 1
        modes[found.mode] += 1
        treated.update(found.treated)
        if found.share < 1:
            cut, least = cut + 1, min(least, (found.share, entry.name))
    return Read(
        entries,
        canvas.pixels(),
        dict(sizes),
        dict(modes),
        dict(treated),
        (cut, least[0], shown(least[1])) if cut else None,
        canvas.scales,
    )


def decoded(listing: Listing, fit: Fit, largest: Sides) -> Iterator[tuple[Entry, Decoded | str]]:
    """Each entry with what it shows, or why it cannot be read; as many at once as fit.

    largest: of the sizes that `fit` says.
    """

    def attempt(entry: Entry) -> Decoded | str:
        try:
            return decode(entry.read(), fit)
        except UnreadableError as error:
            return str(error)
        except OSError as error:
            if not of_the_file(error):
                raise
            return f"{CLOSED} ({error.strerror})"

    waiting = iter(listing.entries)
    workers = min(8, os.cpu_count() or 1)
    together = min(max(AT_ONCE // (3 * math.prod(largest)), workers), MOST)
    with ThreadPoolExecutor(workers) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        while batch := list(islice(waiting, together)):
            yield from zip(batch, pool.map(attempt, batch), strict=True)
