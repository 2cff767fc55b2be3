"""Images of a folder beside those that a run's features hold nearest, and those that are alike.

Nearest is by cosine. Alike is what `kurabe.data.duplicates` calls near-duplicates, which no network
decides.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kurabe.data import ImageSet
from kurabe.data.duplicates import exact_duplicates, near_duplicates
from kurabe.errors import UserError
from kurabe.evaluation.vectors import blocks, unit


@dataclass(frozen=True)
class Near:
    """neighbours: int64 (N, k), the nearest other images of each, nearest first; cosines: float32
    (N, k). alike: positions of images, group by group, of two or more near-duplicates."""

    neighbours: NDArray[np.int64]
    cosines: NDArray[np.float32]
    alike: tuple[tuple[int, ...], ...]


def near(images: ImageSet, vectors: NDArray[np.float32], k: int) -> Near:
    """k other images at most for each; UserError where there is but one image."""
    if len(images) < 2:
        raise UserError(f"{images.name} holds one image, and nearness is between two.")
    x = unit(vectors)
    count = min(k, len(images) - 1)
    neighbours = np.empty((len(images), count), np.int64)
    cosines = np.empty((len(images), count), np.float32)
    for rows in blocks(len(images), 1024):
        cosine = x[rows] @ x.T
        own = np.arange(rows.start, rows.stop)
        # Below any cosine, so that an image is not its own neighbour, whatever copies it has.
        cosine[own - rows.start, own] = -2
        found = cosine.topk(count, dim=1)
        neighbours[rows], cosines[rows] = found.indices.numpy(), found.values.numpy()
    groups = near_duplicates(images.pixels, exact_duplicates(images.pixels))
    alike = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    return Near(neighbours, cosines, tuple(tuple(g.tolist()) for g in alike if len(g) > 1))
