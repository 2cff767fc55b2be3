"""Does a model draw its training images again?

Images are compared by their structure: of each pixel the orientation of its edges and how strong
they are, as the doubled angle 2θ (Bigün & Granlund 1987, "Optimal orientation detection of linear
symmetry") with √|∇|² as its length, summed over the colours. It knows no sign of an edge and no
colour; an image scaled to length 1 knows no contrast either. Means over 2 × 2 cells are compared
within a window, under every shift by up to SHIFT pixels each way, mirrored, and turned by ANGLES;
the least distance counts. So a copy that slid, was mirrored, turned, darkened, recoloured or
carries some noise is near.

For an image x let d₁ be the distance to its nearest training image and d₂ to the nearest one of
another group; a copy has a small d₁/d₂. A fixed bound such as 1/3 (Yoon et al. 2023, "Diffusion
probabilistic models generalize when they fail to memorize") misses what is nearly a copy; so the
bound is the 3 % quantile of d₁/d₂ of real images that training never saw. A data set may hold one
picture under two names: such twins say nothing about how near other pictures come. Those that are
copies by the fixed bound have no part in the quantile, and others, two in ninety say, lie below it:
at 1 % they would pull the bound down to themselves.

Beside it a two-sample test: of equally many training and held-out images, which is nearest to a
drawn one? Chance gives one half (the C_T idea of Meehan et al. 2020, arXiv:2004.05675).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage, special  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

from kurabe.data.alike import shrunk
from kurabe.evaluation.vectors import Vectors
from kurabe.randomness import generator

QUANTILE = 0.03
# d₁/d₂ of a copy by itself, whatever the data.
COPY = 1 / 3
CELL = 2
# Pixels each way that a copy may have slid, at that side; less where images are tiny.
SHIFT = 3
ANGLES = (0, -5, 5, -10, 10, -15, 15)
# Standard deviation of the smoothing before edges are looked for, in pixels.
SMOOTH = 0.7
# A window with less structure than this counts as blank: far from all but blank ones.
BLANK = 0.1
# Images that one is compared with at a time.
BLOCK = 1 << 14


def structure_distances(images: np.ndarray, others: np.ndarray) -> Tensor:
    """Distance of each image to each other one, float32 (N, M), 0 to √2 (2 at most).

    Both uint8 (·, H, W, C). The other images stand still; each of `images` is mirrored, turned and
    shifted, and its least distance counts.
    """
    images, others = (shrunk(x) for x in (images, others))
    starts = range(0, max(len(others), 1), BLOCK)
    return torch.cat([_to_block(images, others[at : at + BLOCK]) for at in starts], dim=1)


def _to_block(images: np.ndarray, others: np.ndarray) -> Tensor:
    shift = min(SHIFT, min(images.shape[1:3]) // 8)
    height, width = ((side - 2 * shift) // CELL * CELL for side in images.shape[1:3])
    still = _window(_cells(others), shift, shift, (height, width))
    lengths = (still * still).sum(1)[None, :]
    best = torch.full((len(images), len(others)), torch.inf)
    for turned in _turned(images):
        cells = _cells(turned)
        for y in range(2 * shift + 1):
            for x in range(2 * shift + 1):
                window = _window(cells, y, x, (height, width))
                squares = (window * window).sum(1)[:, None] + lengths
                best = torch.minimum(best, torch.addmm(squares, window, still.T, alpha=-2))
    return best.clamp_(min=0).sqrt()


def _turned(images: np.ndarray) -> Iterator[np.ndarray]:
    """The images as they are and mirrored, both turned by each angle."""
    for mirrored in (images, images[:, :, ::-1]):
        for angle in ANGLES:
            if angle == 0:
                yield mirrored
                continue
            yield ndimage.rotate(
                mirrored, angle, axes=(2, 1), reshape=False, order=1, mode="nearest"
            )


def structure(pixels: np.ndarray) -> np.ndarray:
    """Edges of each pixel: |∇| (cos 2θ, sin 2θ), float32 (N, H, W, 2), colours summed in squares.

    With J the structure tensor of the smoothed image, summed over colours, this is the vector
    (Jxx − Jyy, 2 Jxy) with the root of its length as its length.
    """
    x = ndimage.gaussian_filter(pixels.astype(np.float32) / 255, (0, SMOOTH, SMOOTH, 0))
    down, right = np.gradient(x, axis=(1, 2))
    field = np.stack([(right**2 - down**2).sum(3), 2 * (right * down).sum(3)], axis=3)
    length = np.linalg.norm(field, axis=3, keepdims=True)
    return field / np.sqrt(np.maximum(length, 1e-12))


def _cells(pixels: np.ndarray) -> Tensor:
    """Means of the structure over the cell that begins at each pixel, (N, 2, H − 1, W − 1)."""
    field = torch.from_numpy(structure(pixels)).permute(0, 3, 1, 2)
    return torch.nn.functional.avg_pool2d(field, CELL, stride=1)


def _window(cells: Tensor, y: int, x: int, sides: tuple[int, int]) -> Tensor:
    """The cells of a window, (N, values), of length 1; shorter where it is blank."""
    window = cells[:, :, y : y + sides[0] : CELL, x : x + sides[1] : CELL].flatten(1)
    return window / torch.linalg.vector_norm(window, dim=1, keepdim=True).clamp(min=BLANK)


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
    """The 3 % quantile of d₁/d₂ of real held-out images that are no twins of training images.

    Below it an image counts as a near-copy; it is never below 1/3. With fewer than about 30
    images it is next to the smallest of them.
    """
    others = held_out[held_out >= COPY]
    return float(np.quantile(others, QUANTILE)) if len(others) else COPY


def twins(held_out: np.ndarray) -> int:
    """How many held-out images are copies of training images by the fixed bound."""
    return int((held_out < COPY).sum())


def false_alarms(held_out: np.ndarray) -> float:
    """Share of held-out images, twins among them, that a bound set on all the others flags."""
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
