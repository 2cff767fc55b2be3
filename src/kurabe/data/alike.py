"""Pairs of images that are one picture moved, mirrored or turned a little.

Let F be the discrete Fourier transform of an image (of at most 32×32 pixels), weighted by |f|^½
and scaled to length 1: a fixed weight that tells outlines apart without a look at the other images.
The correlation of two images under the best whole shift is the largest value of the inverse
transform of F conj(F'), here within REACH pixels each way; F' is also taken of the mirror image and
of both turned by ±ANGLE. Pairs with a correlation of CORRELATION count as alike.

Candidates come from |F| alone, which no shift changes: its low frequencies, with (u, v) and (u, −v)
averaged, so that no mirror changes them either.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kurabe.data.resize import resized

SIDE = 32
LOWEST = 5
REACH = 3
ANGLE = 5
CORRELATION = 0.97
CANDIDATE = 0.98
AT_ONCE = 2048


def descriptors(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Unit vectors (N, D) of low frequencies' magnitudes; 0 for a blank image."""
    small = _shrunk(pixels, SIDE)
    magnitude = np.sqrt((np.abs(np.fft.fft2(small)) ** 2).sum(axis=1))
    magnitude = (magnitude + np.roll(magnitude[:, :, ::-1], 1, axis=2)) / 2
    side = small.shape[2]
    k = np.fft.fftfreq(side) * side
    f = np.hypot(k[:, None], k)
    low = (f > 0) & (f <= min(LOWEST, side // 2)) & (k[:, None] >= 0) & (k >= 0)
    return _unit((magnitude * np.sqrt(f))[:, low])


@dataclass(frozen=True)
class _Turned:
    """Images turned by one angle, and |F| of them and of their mirror images, (N, D) each."""

    pixels: NDArray[np.uint8]
    magnitudes: tuple[NDArray[np.float32], NDArray[np.float32]]


class Alike:
    """Compares pairs of the images it was made with."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = resized(pixels, SIDE) if pixels.shape[1] > SIDE else pixels
        self.side = self._pixels.shape[1]
        self._turned: list[_Turned] = []
        for angle in (0, ANGLE, -ANGLE):
            turned = _turned(self._pixels, angle)
            both = self._magnitudes(turned), self._magnitudes(turned[:, :, ::-1])
            self._turned.append(_Turned(turned, both))
        self._own = self._turned[0].magnitudes[0]

    def __call__(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether images i[k] and j[k] are alike, (len(i),)."""
        parts = [
            self._pairs(i[at : at + AT_ONCE], j[at : at + AT_ONCE])
            for at in range(0, len(i), AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)

    def _pairs(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.bool_]:
        alike = np.zeros(len(i), dtype=bool)
        for turned in self._turned:
            for mirrored, magnitudes in enumerate(turned.magnitudes):
                # No shift lifts the correlation above the sum of |F| |F'|.
                bound = np.einsum("nd,nd->n", self._own[i], magnitudes[j])
                left = np.flatnonzero(~alike & (bound >= CORRELATION))
                other = turned.pixels[j[left]]
                other = self._spectra(other[:, :, ::-1] if mirrored else other)
                own = self._spectra(self._pixels[i[left]])
                alike[left] = self._best(own, other) >= CORRELATION
        return alike

    def _magnitudes(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = [
            np.sqrt((np.abs(self._spectra(pixels[at : at + AT_ONCE])) ** 2).sum(axis=1))
            for at in range(0, len(pixels), AT_ONCE)
        ]
        return np.concatenate(parts).reshape(len(pixels), -1).astype(np.float32)

    def _spectra(self, pixels: NDArray[np.uint8]) -> NDArray[np.complex64]:
        k = np.fft.fftfreq(self.side) * self.side
        spectra = np.fft.fft2(_shrunk(pixels, SIDE)) * np.sqrt(np.hypot(k[:, None], k))
        length = np.sqrt((np.abs(spectra) ** 2).sum(axis=(1, 2, 3), keepdims=True))
        return (spectra / np.maximum(length, 1e-3)).astype(np.complex64)

    def _best(self, a: NDArray[np.complex64], b: NDArray[np.complex64]) -> NDArray[np.float64]:
        correlation = np.fft.ifft2((a * b.conj()).sum(axis=1)).real * self.side**2
        reach = min(REACH, self.side // 8)
        near = np.arange(-reach, reach + 1)
        return correlation[:, near][:, :, near].max(axis=(1, 2), initial=-1)


def _shrunk(pixels: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    small = resized(pixels, side) if pixels.shape[1] > side else pixels
    return small.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


def _unit(x: NDArray[np.inexact]) -> NDArray[np.float32]:
    return (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-3)).astype(np.float32)


def _turned(pixels: NDArray[np.uint8], angle: int) -> NDArray[np.uint8]:
    """Turned about the centre; what comes in at the corners has the first pixel's colour."""
    if angle == 0:
        return pixels
    out = np.empty_like(pixels)
    for image, target in zip(pixels, out, strict=True):
        flat = image[..., 0] if image.shape[2] == 1 else image
        corner = int(image[0, 0, 0]) if flat.ndim == 2 else tuple(image[0, 0].tolist())
        turned = Image.fromarray(flat).rotate(angle, Image.Resampling.BILINEAR, fillcolor=corner)
        target[...] = np.asarray(turned).reshape(target.shape)
    return out
