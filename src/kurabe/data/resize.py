"""Changing the size and colour of uint8 images of one size.

Where the ratio of sides changes too, the middle of the wanted ratio is taken first, as from files.
Shrinking by a whole factor is the mean over blocks of pixels, exactly; other factors use
Pillow's Lanczos filter. Grey from colour is ITU-R 601 luma, as in Pillow.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kurabe.sizes import Sides, Size, sides_of


def resized(pixels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """(N, H, W, C) → (N, *size, C), both uint8; size: pixels a side or (height, width)."""
    height, width = sides_of(size)
    return stretched(_of_ratio(pixels, height, width), (height, width))


def stretched(pixels: NDArray[np.uint8], size: Sides) -> NDArray[np.uint8]:
    """(N, H, W, C) → (N, *size, C), both uint8, the whole of each image whatever its ratio."""
    height, width = size
    count, high, wide, channels = pixels.shape
    if (high, wide) == (height, width):
        return pixels
    out = np.empty((count, height, width, channels), dtype=np.uint8)
    if high % height == 0 and high // height * width == wide:
        factor = high // height
        for start in range(0, count, 1024):
            part = pixels[start : start + 1024]
            blocks = part.reshape(-1, height, factor, width, factor, channels)
            out[start : start + 1024] = np.rint(blocks.mean(axis=(2, 4), dtype=np.float32))
        return out
    for image, target in zip(pixels, out, strict=True):
        source = Image.fromarray(image[..., 0] if channels == 1 else image)
        shrunk = source.resize((width, height), Image.Resampling.LANCZOS)
        target[...] = np.asarray(shrunk).reshape(height, width, channels)
    return out


def _of_ratio(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The largest part from the middle whose sides are as height to width."""
    _, high, wide, _ = pixels.shape
    least = min(high * width, wide * height)
    rows, columns = max(round(least / width), 1), max(round(least / height), 1)
    top, left = (high - rows) // 2, (wide - columns) // 2
    return pixels[:, top : top + rows, left : left + columns]


def recoloured(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """(N, H, W, C) → (N, H, W, channels): grey repeated as RGB, or RGB reduced to luma."""
    if pixels.shape[3] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=3)
    luma = [np.asarray(Image.fromarray(image).convert("L")) for image in pixels]
    return np.stack(luma)[..., None]
