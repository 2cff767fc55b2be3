"""Views of an image: random crops, flips, shifts and colour changes, as policies by name.

A view is a function of the image and a random generator alone. Crops take a share of the area
drawn uniformly and an aspect ratio drawn log-uniformly, scaled back to the image's size by
bilinear interpolation (Szegedy et al. 2015, as used in Chen et al. 2020, appendix A). Colour
changes multiply brightness b, contrast c and saturation s, in that order: with m the mean of the
image and l the luma of a pixel x, x ↦ b c (s x + (1 − s) l) + (1 − c) b m.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kurabe.errors import UserError

RATIO = 4 / 3
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Policy:
    """What a view may change.

    area: least share of the area that a crop keeps, 1 for no crop. flip: probability of left
    and right exchanged. shift: greatest move along each axis as a share of the side, the edge
    repeated. jitter: factors of brightness, contrast and saturation lie in 1 ± jitter.
    """

    area: float = 1.0
    flip: float = 0.0
    shift: float = 0.0
    jitter: float = 0.0


VIEWS: dict[str, Policy] = {
    "none": Policy(),
    "flip": Policy(flip=0.5),
    "shift": Policy(shift=0.125),
    "shift-flip": Policy(shift=0.125, flip=0.5),
    "shift-flip-jitter": Policy(shift=0.125, flip=0.5, jitter=0.4),
    "crop": Policy(area=0.3),
    "crop-flip": Policy(area=0.3, flip=0.5),
    "crop-flip-jitter": Policy(area=0.3, flip=0.5, jitter=0.4),
}


def view(
    pixels: NDArray[np.uint8], rng: np.random.Generator, policy: Policy | str
) -> NDArray[np.uint8]:
    """One view of an image, uint8 (H, W, C) → uint8 (H, W, C).

    policy: a Policy or the name of one in VIEWS; another name is a UserError.
    """
    if isinstance(policy, str):
        if policy not in VIEWS:
            raise UserError(f'There are no views "{policy}"; there are {", ".join(VIEWS)}.')
        policy = VIEWS[policy]
    if policy.area < 1:
        pixels = _cropped(pixels, rng, policy.area)
    if policy.shift:
        pixels = _shifted(pixels, rng, policy.shift)
    if policy.flip and rng.random() < policy.flip:
        pixels = pixels[:, ::-1]
    if policy.jitter:
        pixels = _jittered(pixels, rng, policy.jitter)
    return pixels


def _cropped(
    pixels: NDArray[np.uint8], rng: np.random.Generator, least: float
) -> NDArray[np.uint8]:
    height, width, channels = pixels.shape
    share, log_ratio, x, y = rng.random(4).tolist()
    area = height * width * (least + (1 - least) * share)
    ratio = math.exp((2 * log_ratio - 1) * math.log(RATIO))
    w, h = min(width, math.sqrt(area * ratio)), min(height, math.sqrt(area / ratio))
    left, top = x * (width - w), y * (height - h)
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    box = (left, top, min(left + w, width), min(top + h, height))
    scaled = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.asarray(scaled).reshape(height, width, channels)


def _shifted(
    pixels: NDArray[np.uint8], rng: np.random.Generator, share: float
) -> NDArray[np.uint8]:
    height, width, _ = pixels.shape
    v, h = round(share * height), round(share * width)
    down, right = rng.random(2).tolist()
    top, left = int(down * (2 * v + 1)), int(right * (2 * h + 1))
    padded = np.pad(pixels, ((v, v), (h, h), (0, 0)), "edge")
    return padded[top : top + height, left : left + width]


def _jittered(
    pixels: NDArray[np.uint8], rng: np.random.Generator, strength: float
) -> NDArray[np.uint8]:
    brightness, contrast, saturation = (1 + strength * (2 * rng.random(3) - 1)).tolist()
    x = pixels.astype(np.float32)
    offset = (1 - contrast) * brightness * float(x.mean()) + 0.5
    if pixels.shape[2] == 3:
        colours = saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * LUMA[:, None]
        x = x @ (brightness * contrast * colours)
    else:
        x *= brightness * contrast
    x += offset
    return np.minimum(np.maximum(x, 0), 255).astype(np.uint8)
