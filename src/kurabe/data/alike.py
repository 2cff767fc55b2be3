"""Pairs of images that are one picture: moved, mirrored, turned a little, stored anew.

Two images of at most 32×32 pixels, smoothed a little, are compared with their frequencies weighted
by |f|^½, halfway from brightness to edges: a fixed weight that tells drawings on one ground apart
without a look at the other images. For a shift s the correlation of two such fields v, v' over
what overlaps is

    Σ v(x + s) · v'(x) / √(Σ |v(x + s)|² Σ |v'(x)|²),

summed over pixels and colours, by padded Fourier transforms for all shifts at once. The largest
over shifts of up to REACH pixels, the mirror image and turns by ±ANGLE decides: from CORRELATION
on, two images are alike.

Candidates come from the magnitudes of v's Fourier transform, which no shift changes: its low
frequencies, averaged with their mirror's.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # pyright: ignore[reportMissingTypeStubs]

from kurabe.data.large import Growing, each_part, let_go
from kurabe.data.resize import resized

SIDE = 32
# Standard deviation of the smoothing, in pixels of 32 a side.
SMOOTH = 0.7
POWER = 0.5
REACH = 3
ANGLE = 5
CORRELATION = 0.97
WORTH_TURNING = 0.5
# The highest frequency that picks candidates, in periods a side, and their cosine.
LOWEST = 6
CANDIDATE = 0.96
# A field shorter than this is of a blank image, which is like no other.
BLANK = 0.1
# The share of an image's field that has to lie in what overlaps.
OVERLAP = 0.5
AT_ONCE = 1024
# Images that are transformed at once: each takes a few hundred kB on the way.
TRANSFORMED = 128

Pixels = NDArray[np.uint8]
Field = NDArray[np.float32]


def field(pixels: Pixels) -> Field:
    """v, float32 (N, C, H, W), from uint8 (N, H, W, C)."""
    count, height, width, channels = pixels.shape
    v = np.empty((count, channels, height, width), np.float32)
    for at in range(0, count, TRANSFORMED):
        v[at : at + TRANSFORMED] = _field(pixels[at : at + TRANSFORMED])
    return v


def _field(pixels: Pixels) -> Field:
    height, width = pixels.shape[1:3]
    side = max(height, width)
    sharp = pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    sigmas = (0, 0, SMOOTH * side / SIDE, SMOOTH * side / SIDE)
    x = np.asarray(ndimage.gaussian_filter(sharp, sigmas), np.float32)  # pyright: ignore
    # Beside its reflections, so that no edge stands where the image ends.
    wide = np.concatenate([x, x[:, :, ::-1]], axis=2)
    wide = np.concatenate([wide, wide[..., ::-1]], axis=3)
    # In periods of the longer side, along both.
    ky, kx = (np.fft.fftfreq(2 * n) * side for n in (height, width))
    weight = np.hypot(ky[:, None], kx) ** POWER
    weighted = np.fft.ifft2(np.fft.fft2(wide) * weight.astype(np.float32)).real
    return weighted[:, :, :height, :width].astype(np.float32)


def descriptors(small: Pixels) -> Field:
    """Unit vectors (N, D) of low frequencies' magnitudes; 0 for a blank image."""
    vectors = Growing(_low(field(small[:1])).shape[1:], np.float32)
    for at in range(0, len(small), AT_ONCE):
        vectors.append(_low(field(small[at : at + AT_ONCE])))
        let_go(small)
    return vectors.array()


def shrunk(pixels: Pixels) -> Pixels:
    """Images of at most SIDE pixels along their longer side, of the ratio that they have."""
    height, width = pixels.shape[1:3]
    longer = max(height, width)
    if longer <= SIDE:
        return pixels
    sides = max(round(SIDE * height / longer), 1), max(round(SIDE * width / longer), 1)
    return each_part(pixels, lambda part: resized(part, sides))


class _Fields:
    """The fields of images turned by one angle, each computed when it is first asked for.

    In half precision, and on disk where they are many: a million images have 18 GB of them.
    """

    def __init__(self, small: Pixels, angle: float, reach: int) -> None:
        self.small, self.angle, self.reach = small, angle, reach
        _, height, width, channels = small.shape
        self._fields = Growing((channels, height, width), np.float16)
        self._energies = Growing((2 * reach + 1, 2 * reach + 1), np.float32)
        self._at, self._count = np.full(len(small), -1), 0

    def of(self, places: NDArray[np.int64]) -> tuple[Field, Field]:
        """v (n, C, H, W) and Σ |v|² over what overlaps at each shift, of the images at `places`."""
        new = np.unique(places[self._at[places] < 0])
        for at in range(0, len(new), AT_ONCE):
            part = new[at : at + AT_ONCE]
            v = field(_turned(self.small[part], self.angle))
            self._fields.append(v.astype(np.float16))
            self._energies.append(_overlaps(v, self.reach))
            self._at[part] = self._count + np.arange(len(part))
            self._count += len(part)
        fields, energies, rows = self._fields.array(), self._energies.array(), self._at[places]
        found = fields[rows].astype(np.float32), energies[rows]
        let_go(self.small, fields, energies)
        return found


class Alike:
    """Compares pairs of the images it was made with, of at most SIDE pixels a side."""

    def __init__(self, small: Pixels) -> None:
        self.sides = small.shape[1:3]
        self.reach = min(REACH, min(self.sides) // 8)
        self._ways = [_Fields(small, angle, self.reach) for angle in (0, ANGLE, -ANGLE)]

    def __call__(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether images i[k] and j[k] are alike, (len(i),)."""
        parts = [
            self._pairs(i[at : at + AT_ONCE], j[at : at + AT_ONCE])
            for at in range(0, len(i), AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)

    def _pairs(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.bool_]:
        alike = np.zeros(len(i), dtype=bool)
        for mirrored in (False, True):
            rest = np.flatnonzero(~alike)
            for way in self._ways:
                if len(rest) == 0:
                    break
                b, of_b = way.of(j[rest])
                if mirrored:
                    b, of_b = b[..., ::-1], of_b[..., ::-1]
                a, of_a = self._ways[0].of(i[rest])
                best = self._best(a, b, of_a, of_b)
                alike[rest[best >= CORRELATION]] = True
                # What is far from alike as it stands is not turned for nothing.
                rest = rest[(best < CORRELATION) & (best >= WORTH_TURNING)]
        return alike

    def _best(self, a: Field, b: Field, of_a: Field, of_b: Field) -> Field:
        """The largest correlation over all shifts within reach, (N,); with the fields' energies."""
        padded = (side + self.reach for side in self.sides)
        shape = tuple(side + side % 2 for side in padded)
        product = (np.fft.rfft2(a, shape) * np.fft.rfft2(b, shape).conj()).sum(axis=1)
        near = np.arange(-self.reach, self.reach + 1)
        values = np.fft.irfft2(product, shape)[:, near][:, :, near]
        # What overlaps at a shift is the other's at the opposite one.
        energy = of_a * of_b[:, ::-1, ::-1]
        whole = energy[:, self.reach, self.reach]
        enough = energy >= np.maximum(OVERLAP**2 * whole, BLANK**4)[:, None, None]
        found = np.where(enough, values / np.sqrt(np.maximum(energy, BLANK**4)), -1)
        return found.max(axis=(1, 2)).astype(np.float32)


def _overlaps(v: Field, reach: int) -> Field:
    """Σ |v|² over the part that overlaps at each shift, (N, shifts, shifts)."""
    sums = np.pad((v**2).sum(axis=1).cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0)))
    shifts = np.arange(-reach, reach + 1)
    low, height, width = np.maximum(shifts, 0), *v.shape[2:]
    high, wide = height + np.minimum(shifts, 0), width + np.minimum(shifts, 0)
    rows = sums[:, high] - sums[:, low]
    return rows[:, :, wide] - rows[:, :, low]


def _low(v: Field) -> Field:
    magnitude = np.sqrt((abs(np.fft.fft2(v)) ** 2).sum(axis=1))
    # A mirror swaps (u, v) and (−u, v), and of a real image's pairs (−u, −v) is the same.
    magnitude = magnitude + np.roll(magnitude[:, ::-1], 1, axis=1)
    side = max(v.shape[2:])
    ky, kx = (np.fft.fftfreq(n) * side for n in v.shape[2:])
    vectors = magnitude[:, np.hypot(ky[:, None], kx) <= LOWEST]
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > BLANK, vectors / np.maximum(length, BLANK), 0).astype(np.float32)


def _turned(pixels: Pixels, angle: float) -> Pixels:
    """Images turned by degrees about their centre; what comes in from outside is the rim again."""
    if angle == 0:
        return pixels
    found: Pixels = ndimage.rotate(  # pyright: ignore
        pixels, angle, axes=(2, 1), reshape=False, order=1, mode="nearest"
    )
    return found
