"""Changing the size and colour of uint8 images that are already square.

Shrinking by a whole factor is the mean over blocks of pixels, exactly; other factors use
Pillow's Lanczos filter. Grey from colour is ITU-R 601 luma, as in Pillow.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resized(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(N, H, H, C) → (N, size, size, C), both uint8."""
    count, height, _, channels = pixels.shape
    if size == height:
        return pixels
    out = np.empty((count, size, size, channels), dtype=np.uint8)
    if height % size == 0:
        factor = height // size
        for start in range(0, count, 1024):
            part = pixels[start : start + 1024]
            blocks = part.reshape(-1, size, factor, size, factor, channels)
            out[start : start + 1024] = np.rint(blocks.mean(axis=(2, 4), dtype=np.float32))
        return out
    for image, target in zip(pixels, out, strict=True):
        source = Image.fromarray(image[..., 0] if channels == 1 else image)
        shrunk = source.resize((size, size), Image.Resampling.LANCZOS)
        target[...] = np.asarray(shrunk).reshape(size, size, channels)
    return out


def recoloured(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """(N, H, W, C) → (N, H, W, channels): grey repeated as RGB, or RGB reduced to luma."""
    if pixels.shape[3] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=3)
    luma = [np.asarray(Image.fromarray(image).convert("L")) for image in pixels]
    return np.stack(luma)[..., None]
