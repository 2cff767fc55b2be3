"""Views of an image: random crops, flips, shifts and colour changes, as policies by name.

A view is a function of the image and a random generator alone. Crops take a share of the area
drawn uniformly and an aspect ratio drawn log-uniformly, scaled back to the image's size by
bilinear interpolation (Szegedy et al. 2015, as used in Chen et al. 2020, appendix A); colour
changes multiply brightness, contrast and saturation by factors around 1.
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
    reach = np.array([round(share * height), round(share * width)])
    down, right = rng.integers(-reach, reach, endpoint=True).tolist()
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return pixels[rows[:, None], columns]


def _jittered(
    pixels: NDArray[np.uint8], rng: np.random.Generator, strength: float
) -> NDArray[np.uint8]:
    brightness, contrast, saturation = (1 + strength * (2 * rng.random(3) - 1)).tolist()
    x = pixels.astype(np.float32) * np.float32(brightness)
    mean = x.mean()
    x = mean + np.float32(contrast) * (x - mean)
    if pixels.shape[2] == 3:
        grey = (x @ LUMA)[..., None]
        x = grey + np.float32(saturation) * (x - grey)
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)
