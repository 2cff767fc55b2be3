"""Distances between sets of vectors by matrix products, in blocks of rows.

‖a − b‖² = ‖a‖² + ‖b‖² − 2 a·b, in double precision where a radius is compared with a distance,
since the difference cancels digits.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

Vectors = np.ndarray | Tensor


def double(x: Vectors) -> Tensor:
    """The vectors as a float64 tensor (N, D), on the device where they lie."""
    return torch.as_tensor(x).to(torch.float64)


def unit(x: Vectors) -> Tensor:
    """Rows scaled to length 1, float32 (N, D); a row of zeros stays zero."""
    return torch.nn.functional.normalize(torch.as_tensor(x).to(torch.float32), dim=1)


def squared_distances(a: Vectors, b: Vectors) -> Tensor:
    """‖a_i − b_j‖² ≥ 0, float64 (N, M)."""
    a, b = double(a), double(b)
    # A common shift changes no distance and keeps the cancelling terms small.
    centre = b.mean(0)
    a, b = a - centre, b - centre
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :]
    return squares.sub_(a @ b.T, alpha=2).clamp_(min=0)


def kth_neighbour_distance(x: Vectors, k: int) -> Tensor:
    """Squared distance of every row to its k-th nearest other row, float64 (N,); needs N > k."""
    distances = squared_distances(x, x)
    distances.fill_diagonal_(torch.inf)
    return distances.kthvalue(k, dim=1).values


def blocks(n: int, size: int) -> Iterator[slice]:
    """Slices that cover range(n) in blocks of at most size."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
