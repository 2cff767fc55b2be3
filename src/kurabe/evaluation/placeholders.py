"""Pictures that are no drawings, and drawings with grain: marks to read a distance by.

A model that has learned nothing draws something like the first two; what separates a finished
drawing from the last is finish alone. They depend on the images and their number, never on a model.
"""

import numpy as np

from kurabe.randomness import normal

# Standard deviation of the grain, on values in [0, 1].
GRAIN = 0.1


def blank(pixels: np.ndarray) -> np.ndarray:
    """One page in the colour that lies around uint8 images (N, H, W, C): (1, H, W, C)."""
    sides = (pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1])
    colour = np.median(np.concatenate(sides, 1), axis=(0, 1)).astype(np.uint8)
    return np.broadcast_to(colour, (1, *pixels.shape[1:]))


def noise(count: int, shape: tuple[int, ...]) -> np.ndarray:
    """Uint8 images (count, *shape) of independent values, normal around grey and cut off."""
    values = normal(0, "nothing but noise", range(count), shape)
    return (127.5 * (1 + values)).clip(0, 255).astype(np.uint8)


def grained(pixels: np.ndarray) -> np.ndarray:
    """Uint8 images (N, H, W, C) with independent normal noise of GRAIN."""
    values = normal(0, "grain", range(len(pixels)), pixels.shape[1:])
    return (pixels + 255 * GRAIN * values).round().clip(0, 255).astype(np.uint8)
