"""Fixed transforms of a clean image, one vector for each place of a grid.

Each is a function of images (B, C, H, W) in [−1, 1] and the grid's rows and columns, whose product
with the cells' sides is the image: → (B, rows · columns, D), row by row. Nothing of it is learned.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from kurabe.objectives.masked.histograms import oriented_gradients

Transform = Callable[[Tensor, tuple[int, int]], Tensor]


def cell_of(sides: tuple[int, int], grid: tuple[int, int]) -> int:
    """The side of a grid's cells in values; ValueError where they are not whole squares."""
    (height, width), (rows, columns) = sides, grid
    if height % rows or width % columns or height // rows != width // columns:
        raise ValueError(f"{width}×{height} values are not {columns}×{rows} whole squares")
    return height // rows


def gradients(images: Tensor, grid: tuple[int, int]) -> Tensor:
    """Histograms of oriented gradients, of two by two cells for each place where its side is even.

    D is 9 orientations times the cells.
    """
    side = cell_of((images.shape[2], images.shape[3]), grid)
    # An odd side cannot be halved.
    parts = 1 if side % 2 else 2
    columns = images.shape[3] * parts // side
    histograms = oriented_gradients(images, side // parts).transpose(1, 2)
    return _by_place(histograms.unflatten(2, (-1, columns)), parts)


def pixels(images: Tensor, grid: tuple[int, int]) -> Tensor:
    """The values themselves; D is channels times a place's values."""
    return _by_place(images.float(), cell_of((images.shape[2], images.shape[3]), grid))


def _by_place(maps: Tensor, parts: int) -> Tensor:
    """Maps (B, D, rows · parts, columns · parts) → (B, rows · columns, D · parts²)."""
    return F.pixel_unshuffle(maps, parts).flatten(2).transpose(1, 2)


TRANSFORMS: dict[str, Transform] = {"gradients": gradients, "pixels": pixels}
