"""How near drawn images lie to real ones, in the features of an encoder.

Feature distance: the energy distance of features of length 1 (Székely & Rizzo 2013,
doi:10.1016/j.jspi.2013.03.018), which is MMD² under k(x, y) = −‖x − y‖ (Sejdinovic et al. 2013,
arXiv:1207.6076); unbiased as in Gretton et al. 2012, eq. 3.
KID: unbiased MMD² under k(x, y) = (x·y/D + 1)³ (Bińkowski et al. 2018, arXiv:1801.01401, eq. 4).
FD: ‖μ − μ'‖² + tr(Σ + Σ' − 2 (Σ Σ')^½) (Heusel et al. 2017, arXiv:1706.08500, eq. 6).
Precision and recall: share inside the union of k-nearest-neighbour balls of the other set
(Kynkäänniemi et al. 2019, arXiv:1904.06991, eq. 1-2). Density and coverage: Naeem et al. 2020,
arXiv:2002.09797, eq. 5-6. All on features (N, D), in double precision.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kurabe.evaluation.vectors import Vectors, double, kth_neighbour_distance, squared_distances
from kurabe.randomness import generator

# Dimensions of the projection that stands in where a covariance of all features would be singular.
PCA_DIMENSIONS = 64


Kernel = Callable[[Tensor, Tensor], Tensor]


def polynomial_kernel(x: Vectors, y: Vectors) -> Tensor:
    """k(x_i, y_j) = (x_i·y_j / D + 1)³, float64 (N, M)."""
    x, y = double(x), double(y)
    return (x @ y.T / x.shape[1] + 1) ** 3


def distance_kernel(x: Vectors, y: Vectors) -> Tensor:
    """k(x_i, y_j) = −‖x_i / ‖x_i‖ − y_j / ‖y_j‖‖, float64 (N, M); a row of zeros stays zero."""
    x, y = (torch.nn.functional.normalize(double(side), dim=1) for side in (x, y))
    return -squared_distances(x, y).sqrt()


def mmd(samples: Vectors, real: Vectors, kernel: Kernel) -> float:
    """Unbiased squared maximum mean discrepancy of two sets of at least 2 rows each.

    The mean of k over pairs of different rows within either set, minus twice that between them
    (Gretton et al. 2012, eq. 3); it may be slightly negative.
    """
    n, m = len(samples), len(real)
    if min(n, m) < 2:
        raise ValueError("a mean discrepancy needs at least two images on either side")
    x, y = double(samples), double(real)
    within = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in (kernel(x, x), kernel(y, y))]
    return float(within[0] + within[1] - 2 * kernel(x, y).mean())


def feature_distance(samples: Vectors, real: Vectors) -> float:
    """The headline: the energy distance of features scaled to length 1, 2 E‖x − y‖ − E‖x − x'‖
    − E‖y − y'‖, from 0 to at most 4.

    Lengths are left out: by them blank pages are as near as drawings with a little grain. Chosen
    on known harm and on courses of training (bench/headline.py).
    """
    return mmd(samples, real, distance_kernel)


def kid(samples: Vectors, real: Vectors) -> float:
    """`mmd` of features as they are, under the polynomial kernel."""
    return mmd(samples, real, polynomial_kernel)


def kid_subsets(
    samples: Vectors, real: Vectors, subsets: int = 100, size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Mean and standard deviation of KID over random subsets, as torchmetrics reports it."""
    size = min(size, len(samples), len(real))
    values = []
    for subset in range(subsets):
        rng = generator(seed, "kid subsets", subset)
        rows = [rng.permutation(len(side))[:size] for side in (samples, real)]
        values.append(kid(samples[rows[0]], real[rows[1]]))
    return float(np.mean(values)), float(np.std(values))


def mmd_standard_error(
    x: Vectors, y: Vectors, kernel: Kernel, draws: int = 200, seed: int = 0
) -> float:
    """Standard deviation of `mmd` between two sets of these sizes drawn from one distribution.

    From random divisions of the two sets put together: what it does by chance alone. With s the
    indicator of the first part, every sum of the estimate is a product of s with the kernel.
    """
    both = torch.cat([double(x), double(y)])
    n, m = len(x), len(y)
    k = kernel(both, both)
    diagonal = k.diagonal()
    rows = [generator(seed, "kid divisions", d).permutation(n + m)[:n] for d in range(draws)]
    first = torch.zeros(n + m, draws, dtype=torch.float64, device=both.device)
    for draw, row in enumerate(rows):
        first[torch.as_tensor(row), draw] = 1
    second = 1 - first
    seen = k @ first
    sums = {"xx": (first * seen).sum(0), "xy": (second * seen).sum(0)}
    sums["yy"] = k.sum() - sums["xx"] - 2 * sums["xy"]
    values = (sums["xx"] - diagonal @ first) / (n * (n - 1))
    values += (sums["yy"] - diagonal @ second) / (m * (m - 1)) - 2 * sums["xy"] / (n * m)
    return float(values.std())


def frechet(samples: Vectors, real: Vectors) -> float:
    """Fréchet distance of the Gaussians fitted to two sets.

    tr (Σ Σ')^½ is the sum of the singular values of A Bᵀ, where AᵀA = Σ and BᵀB = Σ'; A and B
    are the centred sets, or their triangular factors where those are smaller.
    """
    means, roots = [], []
    for side in (double(samples), double(real)):
        mean = side.mean(0)
        centred = (side - mean) / (len(side) - 1) ** 0.5
        means.append(mean)
        tall = len(side) > side.shape[1]
        roots.append(torch.linalg.qr(centred, mode="r").R if tall else centred)
    cross = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    variance = sum((root**2).sum() for root in roots)
    return float(((means[0] - means[1]) ** 2).sum() + variance - 2 * cross)


@dataclass(frozen=True)
class FrechetScore:
    """A Fréchet distance under its full name, or no value and the reason."""

    name: str
    value: float | None
    reason: str | None = None


def frechet_score(samples: Vectors, real: Vectors, train: Vectors, encoder: str) -> FrechetScore:
    """FD(encoder)@N; in PCA-64 of the training images' features where N is too small for that.

    A covariance from N ≤ D rows is singular, and the distance then measures N. So the full one
    needs more rows than dimensions on either side; the projected one (fitted on `train`) more
    than 64; else there is none.
    """
    n, dimensions = min(len(samples), len(real)), samples.shape[1]
    if n > dimensions:
        return FrechetScore(f"FD({encoder})@{len(samples)}", frechet(samples, real))
    name = f"FD({encoder}, PCA-{PCA_DIMENSIONS})@{len(samples)}"
    if n <= PCA_DIMENSIONS or len(train) <= PCA_DIMENSIONS:
        reason = f"needs more than {PCA_DIMENSIONS} images on every side"
        return FrechetScore(name, None, reason)
    projected = pca(train, PCA_DIMENSIONS)
    return FrechetScore(name, frechet(projected(samples), projected(real)))


@dataclass(frozen=True)
class Projection:
    """x ↦ (x − mean) V, float64."""

    mean: Tensor
    axes: Tensor

    def __call__(self, x: Vectors) -> Tensor:
        """Project rows (N, D) → (N, k)."""
        return (double(x) - self.mean) @ self.axes


def pca(x: Vectors, dimensions: int) -> Projection:
    """The first principal axes of x (N, D); at most min(N − 1, D) of them."""
    x = double(x)
    mean = x.mean(0)
    x = x - mean
    kept = min(dimensions, len(x) - 1, x.shape[1])
    wide = x.shape[1] > len(x)
    vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x).eigenvectors
    axes = vectors[:, -kept:].flip(1)
    if wide:
        # With x xᵀ u = s² u the axis is xᵀ u / s.
        axes = torch.nn.functional.normalize(x.T @ axes, dim=0)
    return Projection(mean, axes)


def precision_recall(samples: Vectors, real: Vectors, k: int = 3) -> tuple[float, float]:
    """Share of samples inside the real images' balls, and of real images inside the samples'.

    A ball reaches to the k-th nearest other image of its own set; needs more than k images.
    """
    between = squared_distances(samples, real)
    inside_real = between <= kth_neighbour_distance(real, k)[None, :]
    inside_samples = between <= kth_neighbour_distance(samples, k)[:, None]
    precision = inside_real.any(1).double().mean()
    recall = inside_samples.any(0).double().mean()
    return float(precision), float(recall)


def density_coverage(samples: Vectors, real: Vectors, k: int = 5) -> tuple[float, float]:
    """Mean number of real balls around a sample over k, and share of real balls with a sample."""
    inside = squared_distances(samples, real) < kth_neighbour_distance(real, k)[None, :]
    return float(inside.sum(1).double().mean() / k), float(inside.any(0).double().mean())


def clusters(train: Vectors, seed: int = 0) -> Tensor:
    """Centres of 2 to 10 clusters of the training images (k-means), about 20 images each."""
    from sklearn.cluster import KMeans

    number = max(2, min(10, len(train) // 20))
    rows = torch.as_tensor(train).cpu().numpy()
    return double(KMeans(number, n_init="auto", random_state=seed).fit(rows).cluster_centers_)


def diversity(samples: Vectors, centres: Vectors) -> float | None:
    """Mean distance of two samples of one cluster, averaged over clusters by their samples.

    Every sample belongs to its nearest centre. Like the intra-cluster distance of Ojha et al.
    2021 (arXiv:2104.06820), with the encoder's distance in place of LPIPS. None where no cluster
    has two samples.
    """
    samples = double(samples)
    own = squared_distances(samples, centres).argmin(1)
    total, members = 0.0, 0
    for cluster in own.unique():
        rows = samples[own == cluster]
        if (n := len(rows)) > 1:
            # Each pair stands twice and the diagonal is 0: n (n − 1) distances; times n members.
            total += float(squared_distances(rows, rows).sqrt().sum()) / (n - 1)
            members += n
    return total / members if members else None
