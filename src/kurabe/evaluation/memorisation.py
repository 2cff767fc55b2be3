"""Does a model draw its training images again?

Distance: root mean square over 2 × 2 cells (their means, which fine noise hardly moves) between the
inner window of the first image and the best place of that window in the second, moved by at most
`shift` pixels each way. So a copy that slid by a pixel or carries some noise is near. For an image
x let d₁ be the distance to its nearest training image and d₂ to the nearest one of another group; a
copy has a small d₁/d₂. A fixed bound such as 1/3 (Yoon et al. 2023, "Diffusion probabilistic models
generalize when they fail to memorize") misses what is nearly a copy; so the bound is the 1 %
quantile of d₁/d₂ of real images that training never saw.

Beside it a two-sample test: of equally many training and held-out images, which is nearest to a
drawn one? Chance gives one half (the C_T idea of Meehan et al. 2020, arXiv:2004.05675).
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import special  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

from kurabe.evaluation.distances import Vectors
from kurabe.randomness import generator

QUANTILE = 0.01
CELL = 2


def default_shift(size: int) -> int:
    """Pixels that a copy may have slid: a sixteenth of the side, 2 at 32 pixels."""
    return max(1, round(size / 16))


def shifted_distances(images: np.ndarray, others: np.ndarray, shift: int) -> Tensor:
    """Distance of each image to each other one under the best shift, float32 (N, M).

    Both uint8 (·, H, W, C); the result is in units of the pixel range, 0 to 1.
    """
    side = (images.shape[1] - 2 * shift) // CELL * CELL
    window = _cells(images, shift, shift, side)
    best = torch.full((len(images), len(others)), torch.inf)
    for dy in range(2 * shift + 1):
        for dx in range(2 * shift + 1):
            best = torch.minimum(best, _squares(window, _cells(others, dy, dx, side)))
    return (best / window.shape[1]).sqrt()


def _cells(pixels: np.ndarray, y: int, x: int, side: int) -> Tensor:
    """Means over the cells of a window, (N, cells), centred at mid-grey.

    Centred, so that float32 loses little where the squares cancel.
    """
    window = pixels[:, y : y + side, x : x + side]
    n, channels, cells = len(window), window.shape[3], side // CELL
    blocks = window.reshape(n, cells, CELL, cells, CELL, channels)
    means = blocks.mean((2, 4), dtype=np.float32) / 255 - np.float32(0.5)
    return torch.from_numpy(means.reshape(n, -1))


def _squares(a: Tensor, b: Tensor) -> Tensor:
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :]
    return torch.addmm(squares, a, b.T, alpha=-2).clamp_(min=0)


@dataclass(frozen=True)
class Nearest:
    """Nearest training images: `first` (N,) their rows, `ratio` (N,) d₁/d₂, `distance` (N,) d₁."""

    first: np.ndarray
    distance: np.ndarray
    ratio: np.ndarray


def nearest(distances: Tensor, groups: np.ndarray) -> Nearest | None:
    """d₁ and d₂ from distances (N, M) to training images of these groups (M,).

    None where all training images are of one group: there is no d₂.
    """
    if len(np.unique(groups)) < 2:
        return None
    d1, first = distances.min(1)
    group = torch.from_numpy(groups)
    same = group[first][:, None] == group[None, :]
    d2 = distances.masked_fill(same, torch.inf).min(1).values
    # Two training images that are the same picture under two groups: as near as can be.
    ratio = torch.where(d2 > 0, d1 / d2, 0.0)
    return Nearest(first.numpy(), d1.numpy(), ratio.numpy())


def threshold(held_out: np.ndarray) -> float:
    """The 1 % quantile of real held-out images' d₁/d₂; below it an image counts as a near-copy.

    With fewer than about 100 images it is next to the smallest of them.
    """
    return float(np.quantile(held_out, QUANTILE))


def false_alarms(held_out: np.ndarray) -> float:
    """Share of held-out images that would be called copies by a bound set on all the others."""
    flags = [ratio < threshold(np.delete(held_out, i)) for i, ratio in enumerate(held_out)]
    return float(np.mean(flags))


@dataclass(frozen=True)
class NearestToTraining:
    """Share of samples whose nearest image is a training one, its 95 % interval, and n samples."""

    share: float
    low: float
    high: float
    compared: int


def nearest_to_training(
    to_train: Vectors, to_held_out: Vectors, seed: int = 0, draws: int = 32
) -> NearestToTraining:
    """How often the nearest of equally many training and held-out images is a training one.

    Distances (N, M) and (N, K). The larger set is thinned to the smaller one's size, `draws`
    times; the share is the mean over draws, ties count half. Interval: Clopper-Pearson.
    """
    train, held_out = torch.as_tensor(to_train), torch.as_tensor(to_held_out)
    size = min(train.shape[1], held_out.shape[1])
    wins = 0.0
    for draw in range(draws):
        rng = generator(seed, "nearest to training", draw)
        near, far = (
            side[:, torch.from_numpy(rng.permutation(side.shape[1])[:size])].min(1).values
            for side in (train, held_out)
        )
        wins += float((near < far).double().mean() + (near == far).double().mean() / 2)
    share, n = wins / draws, len(train)
    return NearestToTraining(share, *clopper_pearson(round(share * n), n), size)


def clopper_pearson(found: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of a share of `found` in n (Clopper & Pearson 1934)."""
    tail = (1 - level) / 2
    low = float(special.betaincinv(found, n - found + 1, tail)) if found else 0.0
    high = float(special.betaincinv(found + 1, n - found, 1 - tail)) if found < n else 1.0
    return low, high
