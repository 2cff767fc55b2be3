"""What remains known of images that a network was trained on: 24 bytes an image.

An exact key (a hash of the pixels) and a signature of 128 bits: the image in grey, shrunk to
16×16, less its mean, and the signs of its products with 128 fixed normal vectors. Two images at an
angle θ differ in a bit with probability θ/π (Charikar 2002, "Similarity estimation techniques
from rounding algorithms"), so near-copies are found in other sizes and colours too; mirror images
and shifts by a sixteenth of the side are looked for as well.
"""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kurabe.data.images import ImageSet
from kurabe.data.resize import recoloured, resized
from kurabe.errors import UserError
from kurabe.files import write_bytes_atomic
from kurabe.randomness import generator

FILE = "trained-on.npz"
SIDE = 16
BITS = 128
# A cosine of .985 differs in 7 of 128 bits on average.
DIFFERENT = 7
ROWS = 64


@dataclass(frozen=True, eq=False)
class Traces:
    """keys: uint64 (N,); signatures: uint64 (N, 2)."""

    keys: NDArray[np.uint64]
    signatures: NDArray[np.uint64]

    @classmethod
    def of(cls, images: ImageSet) -> "Traces":
        """The traces of all images of a set."""
        return cls(images.keys, _signatures(_small(images.pixels)))

    @classmethod
    def read(cls, path: Path) -> "Traces | None":
        """The traces in a file, None where there is none; UserError for a damaged one."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                return cls(stored["keys"], stored["signatures"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            raise UserError(f"{path} is damaged; put back the one that came with it.") from None

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
        small = _small(images.pixels)
        for flipped in (small, small[:, :, ::-1]):
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    left = np.flatnonzero(~found)
                    moved = np.roll(flipped[left], (dy, dx), axis=(1, 2))
                    found[left] = self._near(_signatures(moved))
        return found

    def _near(self, signatures: NDArray[np.uint64]) -> NDArray[np.bool_]:
        near = np.zeros(len(signatures), dtype=bool)
        for start in range(0, len(signatures), ROWS):
            part = signatures[start : start + ROWS]
            bits = np.bitwise_count(part[:, None] ^ self.signatures[None]).sum(axis=2)
            near[start : start + ROWS] = (bits <= DIFFERENT).any(axis=1)
        return near


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    small = resized(recoloured(pixels, 1), SIDE)[..., 0]
    return small.astype(np.float32)


def _signatures(small: NDArray[np.float32]) -> NDArray[np.uint64]:
    x = small.reshape(len(small), SIDE * SIDE)
    x = x - x.mean(axis=1, keepdims=True)
    axes = generator(0, "signatures of images").standard_normal((SIDE * SIDE, BITS))
    signs = x.astype(np.float64) @ axes > 0
    return np.packbits(signs, axis=1).view(">u8").astype(np.uint64)
