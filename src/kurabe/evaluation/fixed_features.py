"""Features that people wrote down, or that are learned without a network: what a model must beat.

- hog: histograms of oriented gradients (Dalal & Triggs 2005) in at most 8 × 8 cells, of 4 × 4
  pixels where that is enough; of each cell its own length is taken out.
- scattering: J = 2 (Bruna & Mallat 2013), its 81 maps averaged to at most 4 × 4 places and each
  brought to the same size.
- patches: Coates, Ng & Lee (2011), "An analysis of single-layer networks in unsupervised feature
  learning": patches of 6 × 6 pixels of training images, each with its mean and contrast taken out,
  whitened; K-means among them; for each patch of an image max(0, mean distance − distance) to each
  of K = 256 centres ("triangle"), averaged over the image's four quadrants.

All see uint8 images (N, H, W, C) and give float32 (N, D).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kurabe.evaluation.scattering import scattering
from kurabe.evaluation.vectors import blocks
from kurabe.objectives.masked.histograms import oriented_gradients
from kurabe.randomness import generator

Features = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
CELLS, CELL = 8, 4
PLACES = 4
PATCH, CENTRES, DRAWN = 6, 256, 50_000
# Added to a patch's variance (on values of 0 to 255) and to the eigenvalues of whitening, as in the
# paper's code.
CONTRAST, WHITENING = 10.0, 0.1


def hog(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Gradient histograms; images that cells do not divide go on with their last row or column."""
    side = max(CELL, math.ceil(max(pixels.shape[1:3]) / CELLS))

    def of(images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        whole = F.pad(images, (0, -width % side, 0, -height % side), "replicate")
        return oriented_gradients(whole, side).flatten(1)

    return _in_blocks(pixels, of)


def scattering_of(train: NDArray[np.uint8]) -> Features:
    """Scattering coefficients of the grey image, each map over its root mean square in training
    images, or the mean brightness would outweigh all contours."""

    def of(images: Tensor) -> Tensor:
        maps = scattering(images.mean(1, keepdim=True))
        places = (min(PLACES, maps.shape[2]), min(PLACES, maps.shape[3]))
        return F.adaptive_avg_pool2d(maps, places).flatten(2)

    usual = np.sqrt(np.square(_in_blocks(train, of)).mean((0, 2), keepdims=True))

    def scaled(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = _in_blocks(pixels, of) / np.where(usual > 0, usual, 1)
        return found.reshape(len(found), -1).astype(np.float32)

    return scaled


def patch_means(train: NDArray[np.uint8]) -> Features:
    """Fit whitening and centres to patches of training images; what they make of any image."""
    from sklearn.cluster import MiniBatchKMeans

    side = min(PATCH, *train.shape[1:3])
    patches = _drawn_patches(train, side)
    normal = _normalised(patches)
    mean = normal.mean(0)
    values, axes = torch.linalg.eigh((normal - mean).T @ (normal - mean) / len(normal))
    white = axes @ torch.diag((values.clamp(min=0) + WHITENING).rsqrt()) @ axes.T
    shown = ((normal - mean) @ white).numpy()
    count = min(CENTRES, len(np.unique(shown, axis=0)))
    # Documented, but annotated as text alone.
    once: Any = 1
    found = MiniBatchKMeans(count, random_state=0, n_init=once, batch_size=4096).fit(shown)
    centres = torch.from_numpy(found.cluster_centers_).float()

    def of(images: Tensor) -> Tensor:
        rows, columns = (n - side + 1 for n in images.shape[2:])
        seen = _normalised(F.unfold(images * 127.5 + 127.5, side).transpose(1, 2).flatten(0, 1))
        far = torch.cdist((seen - mean) @ white, centres)
        near = (far.mean(1, keepdim=True) - far).clamp(min=0)
        maps = near.view(len(images), rows, columns, -1).permute(0, 3, 1, 2)
        return F.adaptive_avg_pool2d(maps, (min(2, rows), min(2, columns))).flatten(1)

    return lambda pixels: _in_blocks(pixels, of)


def _drawn_patches(train: NDArray[np.uint8], side: int) -> Tensor:
    """At most `DRAWN` patches of the images, float32 (N, C · side²), at places drawn by chance."""
    draw = generator(0, "patches", 0, side)
    height, width = train.shape[1:3]
    image = draw.integers(len(train), size=DRAWN)
    row = draw.integers(height - side + 1, size=(DRAWN, 1, 1)) + np.arange(side)[:, None]
    column = draw.integers(width - side + 1, size=(DRAWN, 1, 1)) + np.arange(side)
    found = train[image[:, None, None], row, column]
    return torch.from_numpy(found.transpose(0, 3, 1, 2).reshape(DRAWN, -1).astype(np.float32))


def _normalised(patches: Tensor) -> Tensor:
    """Patches (N, D) of 0 to 255, less their mean, over the root of their variance."""
    centred = patches - patches.mean(1, keepdim=True)
    return centred / (patches.var(1, keepdim=True) + CONTRAST).sqrt()


def _in_blocks(pixels: NDArray[np.uint8], of: Callable[[Tensor], Tensor]) -> NDArray[np.float32]:
    """`of` on images (B, C, H, W) in [−1, 1], a few at a time."""
    found = []
    for rows in blocks(len(pixels), 64):
        images = torch.from_numpy(pixels[rows].astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
        found.append(of(images).numpy())
    return np.concatenate(found)
