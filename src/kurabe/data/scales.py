"""One scale for all deep greys of a set: which value is white.

p = 255 v / s, where s, the full scale, is the least of 1, 2⁸ − 1, 2¹⁰ − 1, 2¹² − 1, 2¹⁴ − 1 and
2¹⁶ − 1 that is not below the set's peak (2⁸ counts as 2⁸ − 1, and 1.1 as 1: sharpening leaves as
much); beyond these (counts, sums), and of floating point between 1.1 and 16, where bytes would be
nearly black, s is the peak itself.

The peak is the greater of two values: the greatest of all images' 99% quantiles, so that a bright
image among dim ones keeps its drawing, and the 99.9% quantile of all pixels of the set together,
so that small bright things do. What a few odd pixels hold (sharpening, dead pixels) is thus no
part of it; what lies above s becomes white. Whole numbers and floating point have each their own.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FULL_SCALES = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)
SLACK, OVERSHOOT, LEAST_BYTES = 1.005, 1.1, 16.0
OF_IMAGE, OF_SET = 0.99, 0.999
KEPT = 64  # values that stand for the brightest hundredth of an image


@dataclass(frozen=True)
class Deep:
    """A deep grey: whether its values are floating point, whether 0 is white in it, its pixels,
    its 99% quantile, and the values above that: at most 64, each for `weight` pixels."""

    floating: bool
    negative: bool
    count: int
    quantile: float
    above: NDArray[np.float32]
    weight: float


def brightest(values: NDArray[np.float32]) -> tuple[int, float, NDArray[np.float32], float]:
    """An image's number of pixels, its 99% quantile, what lies above it, thinned, and for how
    many pixels each of these stands."""
    flat = values.ravel()
    at = int(OF_IMAGE * (flat.size - 1))
    ordered = np.partition(flat, at)
    above = np.sort(ordered[at + 1 :])
    kept = above
    if above.size > KEPT:
        kept = above[np.linspace(0, above.size - 1, KEPT).round().astype(int)]
    return flat.size, float(ordered[at]), kept.copy(), above.size / max(kept.size, 1)


def scales_of(deep: Iterable[Deep]) -> dict[bool, float]:
    """The full scale of whole numbers (False) and of floating point (True), where there are any."""
    kinds = dict[bool, list[Deep]]()
    for image in deep:
        kinds.setdefault(image.floating, []).append(image)
    return {floating: _full_scale(images, floating) for floating, images in kinds.items()}


def scaled(values: NDArray[np.generic], deep: Deep, scales: dict[bool, float]) -> NDArray[np.uint8]:
    """Values (H, W) as 0 to 255 on the set's scale."""
    shares = np.asarray(values, np.float32) * (255 / scales[deep.floating])
    shares = 255 - shares if deep.negative else shares
    return np.clip(np.rint(shares), 0, 255).astype(np.uint8)


def _full_scale(images: list[Deep], floating: bool) -> float:
    peak = max(_peak(images), 0.0 if floating else 255.0)
    if OVERSHOOT < peak < LEAST_BYTES:
        return peak
    if peak <= OVERSHOOT:
        return 1.0
    return next((scale for scale in FULL_SCALES[1:] if scale * SLACK >= peak), peak)


def _peak(images: list[Deep]) -> float:
    of_images = max(image.quantile for image in images)
    count = sum(image.count for image in images)
    allowed = count - 1 - int(OF_SET * (count - 1))
    values = np.concatenate([image.above for image in images])
    weights = np.concatenate([np.full(image.above.size, image.weight) for image in images])
    order = np.argsort(values)[::-1]
    # The greatest value that no more than the allowed pixels exceed.
    within = np.flatnonzero(np.cumsum(weights[order]) > allowed + 1e-6)
    of_set = float(values[order][within[0]]) if within.size else 0.0
    return max(of_images, of_set)
