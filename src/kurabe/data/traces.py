"""What remains known of images that a network was trained on: 40 bytes an image.

An exact key (a hash of the pixels) and a signature of 256 bits: the image in grey, shrunk to
16×16, its frequencies weighted as `kurabe.data.alike` weights them, and the signs of its products
with 256 fixed normal vectors. Two fields at an angle θ differ in a bit with probability θ/π
(Charikar 2002, "Similarity estimation techniques from rounding algorithms"), so near-copies are
found in other sizes and colours and mirrored, and some that are moved by a 32nd of the side.
What that finds and what it takes for seen without cause: docs/decisions/0014.
"""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kurabe.data.alike import field
from kurabe.data.images import ImageSet
from kurabe.data.large import each_part, taken
from kurabe.data.resize import recoloured, resized
from kurabe.errors import UserError
from kurabe.files import write_bytes_atomic
from kurabe.randomness import generator

FILE = "trained-on.npz"
SIDE = 16
BITS = 256
WORDS = BITS // 64
# A cosine of .989 differs in 12 of 256 bits on average.
DIFFERENT = 12
ROWS = 1024


@dataclass(frozen=True, eq=False)
class Traces:
    """keys: uint64 (N,); signatures: uint64 (N, 4)."""

    keys: NDArray[np.uint64]
    signatures: NDArray[np.uint64]

    @classmethod
    def of(cls, images: ImageSet) -> "Traces":
        """The traces of all images of a set."""
        return cls.of_some(images, np.arange(len(images)))

    @classmethod
    def of_some(cls, images: ImageSet, index: NDArray[np.int64]) -> "Traces":
        """The traces of the images at `index`, in that order."""
        found = [np.zeros((0, WORDS), np.uint64)]
        for at in range(0, len(index), ROWS):
            rows = taken(images.pixels, index[at : at + ROWS])
            found.append(_signatures(_grey(rows)))
        return cls(images.keys[index], np.concatenate(found))

    @classmethod
    def read(cls, path: Path) -> "Traces | None":
        """The traces in a file, None where there is none; UserError for a damaged one."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                keys, signatures = stored["keys"], stored["signatures"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            raise UserError(f"{path} is damaged; put back the one that came with it.") from None
        if signatures.shape[1] != WORDS:
            # Written by an earlier version, whose signatures are no match: exact copies alone.
            signatures = np.zeros((0, WORDS), np.uint64)
        return cls(keys, signatures)

    def write(self, path: Path) -> None:
        """Write them as .npz."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, keys=self.keys, signatures=self.signatures)
        write_bytes_atomic(path, buffer.getvalue())

    def joined(self, other: "Traces | None") -> "Traces":
        """Both sets of traces."""
        if other is None:
            return self
        return Traces(
            np.concatenate([self.keys, other.keys]),
            np.concatenate([self.signatures, other.signatures]),
        )

    def hold(self, images: ImageSet) -> NDArray[np.bool_]:
        """For each image, (N,), whether it or a near-copy of it is among these."""
        found = np.isin(images.keys, self.keys)
        known, grey = _signs(self.signatures), _grey(images.pixels)
        for flipped in (grey, grey[:, :, ::-1]):
            for dy in (0, -1, 1):
                for dx in (0, -1, 1):
                    left = np.flatnonzero(~found)
                    moved = np.roll(flipped[left], (dy, dx), axis=(1, 2))
                    found[left] = _near(_signs(_signatures(moved)), known)
        return found


def _near(signs: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether a row differs from one of the known ones in DIFFERENT places at most, (N,)."""
    if not len(known):
        return np.zeros(len(signs), dtype=bool)
    # Of vectors of ±1 the product is the number of bits, less twice those that differ.
    parts = [
        (signs[at : at + ROWS] @ known.T).max(axis=1) >= BITS - 2 * DIFFERENT
        for at in range(0, len(signs), ROWS)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey images of twice the side that signatures are taken at, (N, 32, 32, 1)."""
    return each_part(pixels, lambda part: resized(recoloured(part, 1), 2 * SIDE))


def _signatures(grey: NDArray[np.uint8]) -> NDArray[np.uint64]:
    axes = generator(0, "signatures of images").standard_normal((SIDE * SIDE, BITS))
    parts = [
        field(resized(grey[at : at + ROWS], SIDE)).reshape(-1, SIDE * SIDE).astype(np.float64)
        @ axes
        > 0
        for at in range(0, len(grey), ROWS)
    ]
    signs = np.concatenate([np.zeros((0, BITS), dtype=bool), *parts])
    return np.packbits(signs, axis=1).view(">u8").astype(np.uint64)


def _signs(signatures: NDArray[np.uint64]) -> NDArray[np.float32]:
    """±1 for every bit, (N, 256)."""
    octets = signatures.astype(">u8").view(np.uint8)
    return np.unpackbits(octets, axis=1).astype(np.float32) * 2 - 1
