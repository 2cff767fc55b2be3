"""What can be said of features without a label.

Own-view recall: the share of augmented images whose nearest image, by cosine, is the one they were
made from. Alignment E‖f(x) − f(x⁺)‖² and uniformity log E exp(−2‖f(x) − f(y)‖²) on unit vectors
(Wang & Isola 2020, arXiv:2005.10242, eq. 4-5). RankMe exp(−Σ p log p), p the singular values over
their sum (Garrido et al. 2023, arXiv:2210.02885, eq. 1). Features float32 (N, D).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kurabe.evaluation.vectors import Vectors, double, squared_distances, unit


def own_view_ranks(images: Vectors, views: Sequence[Vectors]) -> Tensor:
    """Rank of its own image among all, from 1, for every view (each (N, D), row i from image i).

    Images as near as the own one rank before it: features that are all alike find nothing.
    """
    gallery = unit(images)
    ranks = []
    for view in views:
        cosine = unit(view) @ gallery.T
        own = cosine.diagonal().clone()
        # Below any cosine, so that the own image does not count as one before itself.
        cosine.fill_diagonal_(-2)
        ranks.append(1 + (cosine >= own[:, None]).sum(1))
    return torch.cat(ranks)


def own_view_recall(images: Vectors, views: Sequence[Vectors]) -> float:
    """Share of views whose nearest image is their own."""
    return float((own_view_ranks(images, views) == 1).double().mean())


def reciprocal_rank(images: Vectors, views: Sequence[Vectors]) -> float:
    """Mean of 1/rank: recall with smaller steps."""
    return float((1 / own_view_ranks(images, views).double()).mean())


def alignment(images: Vectors, views: Sequence[Vectors]) -> float:
    """Mean squared distance of a view from its image on the unit sphere, 0 (aligned) to 4."""
    own = unit(images)
    return float(
        torch.stack([(own - unit(v)).square().sum(1).double().mean() for v in views]).mean()
    )


def uniformity(images: Vectors) -> float:
    """log of the mean Gaussian potential of two images: 0 (all alike) down to about −4."""
    x = unit(images)
    potential = torch.exp(-2 * squared_distances(x, x))
    n = len(x)
    return float(torch.log((potential.sum() - potential.trace()) / (n * (n - 1))))


def rankme(images: Vectors, epsilon: float = 1e-7) -> float:
    """Effective rank, 1 to min(N, D); comparable between runs of one method only."""
    singular = torch.linalg.svdvals(double(images))
    p = singular / singular.sum() + epsilon
    return float(torch.exp(-(p * p.log()).sum()))
