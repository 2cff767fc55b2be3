"""Distances between sets of images, against torchmetrics, scikit-learn and their definitions."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance, poly_mmd

from kurabe.evaluation import distances


@pytest.fixture
def sets() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(48, 48)) / 7
    return rng.normal(size=(150, 48)) @ mix, 0.8 * rng.normal(size=(150, 48)) @ mix + 0.2


class Flat(nn.Module):
    """Hands features through as if they were images."""

    num_features = 48

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).double()


def test_kid_of_full_sets_is_torchmetrics(sets):
    samples, real = map(torch.from_numpy, sets)
    assert distances.kid(samples, real) == pytest.approx(float(poly_mmd(real, samples)), abs=1e-12)


@pytest.mark.filterwarnings("ignore:Metric `Kernel")
def test_kid_of_subsets_is_torchmetrics(sets):
    # One subset that is the whole set: no draw enters.
    metric = KernelInceptionDistance(feature=Flat(), subsets=3, subset_size=150, normalize=True)
    samples, real = (torch.from_numpy(s)[:, :, None, None] for s in sets)
    metric.update(real, real=True)
    metric.update(samples, real=False)
    theirs, _ = metric.compute()
    ours, spread = distances.kid_subsets(*sets, subsets=3, size=1000)
    assert ours == pytest.approx(float(theirs), abs=1e-5)
    assert spread == pytest.approx(0, abs=1e-9)


def test_kid_is_the_sum_over_pairs():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(5, 3))

    def k(a, b):
        return (a @ b / 3 + 1) ** 3

    xx = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    yy = np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])
    assert distances.kid(x, y) == pytest.approx(xx + yy - 2 * xy, abs=1e-12)


def test_feature_distance_is_the_energy_distance_of_directions(sets):
    # scipy's mean distances, pdist over pairs of different rows alone.
    x, y = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in sets)
    expected = 2 * cdist(x, y).mean() - pdist(x).mean() - pdist(y).mean()
    assert distances.feature_distance(*sets) == pytest.approx(expected, abs=1e-12)
    lengths = np.random.default_rng(7).uniform(0.1, 9, (150, 1))
    stretched = sets[0] * lengths, sets[1] / lengths
    assert distances.feature_distance(*stretched) == pytest.approx(expected, abs=1e-12)
    assert distances.kid(*stretched) != pytest.approx(distances.kid(*sets), rel=0.1)


def test_feature_distance_in_closed_form():
    # Copies of one direction against copies of another at a right angle, and opposite: 2 ‖x − y‖.
    x, y = np.eye(3)[[0, 0, 0]], 5 * np.eye(3)[[1, 1]]
    assert distances.feature_distance(x, y) == pytest.approx(2 * 2**0.5, abs=1e-7)
    assert distances.feature_distance(x, -x) == pytest.approx(4, abs=1e-7)
    assert distances.feature_distance(x, x[:2]) == pytest.approx(0, abs=1e-7)
    # A row of zeros points nowhere: it is 1 away from every direction.
    assert distances.feature_distance(0 * x, y) == pytest.approx(2, abs=1e-7)
    with pytest.raises(ValueError, match="two images"):
        distances.feature_distance(x[:1], y)


def test_feature_distance_of_one_distribution_is_unbiased_and_its_error_is_known():
    rng = np.random.default_rng(8)

    def draw(n):
        return rng.normal(size=(n, 16)) + 0.5

    draws = [distances.feature_distance(draw(80), draw(50)) for _ in range(300)]
    error = distances.mmd_standard_error(draw(80), draw(50), distances.distance_kernel)
    assert abs(np.mean(draws)) < 3 * np.std(draws) / np.sqrt(300)
    assert error == pytest.approx(np.std(draws), rel=0.25)


def test_kid_of_one_distribution_is_unbiased_and_its_error_is_known():
    rng = np.random.default_rng(2)
    draws = [
        distances.kid(rng.normal(size=(80, 16)), rng.normal(size=(50, 16))) for _ in range(300)
    ]
    error = distances.mmd_standard_error(
        rng.normal(size=(80, 16)), rng.normal(size=(50, 16)), distances.polynomial_kernel
    )
    assert abs(np.mean(draws)) < 3 * np.std(draws) / np.sqrt(300)
    assert error == pytest.approx(np.std(draws), rel=0.25)


def test_frechet_is_torchmetrics(sets):
    metric = FrechetInceptionDistance(feature=Flat(), normalize=True).set_dtype(torch.float64)
    for which, rows in zip((False, True), sets, strict=True):
        metric.update(torch.from_numpy(rows)[:, :, None, None], real=which)
    assert distances.frechet(*sets) == pytest.approx(float(metric.compute()), rel=1e-5)


@pytest.mark.parametrize("n", [30, 400])
def test_frechet_of_a_moved_and_scaled_set(n):
    # Σ' = s² Σ commutes with Σ: FD = ‖shift‖² + (1 − s)² tr Σ, also where Σ is singular (n < D).
    x = np.random.default_rng(3).normal(size=(n, 40))
    y = 1.5 * (x - x.mean(0)) + x.mean(0) + 0.3
    expected = 40 * 0.3**2 + 0.25 * np.trace(np.cov(x.T))
    assert distances.frechet(x, y) == pytest.approx(expected, rel=1e-9)


def test_frechet_is_refused_where_it_would_measure_the_number_of_images():
    rng = np.random.default_rng(4)
    x, y, train = (rng.normal(size=(n, 100)) for n in (101, 150, 150))
    assert distances.frechet_score(x, y, train, "e").name == "FD(e)@101"
    projected = distances.frechet_score(x[:100], y, train, "e")
    assert projected.name == "FD(e, PCA-64)@100"
    axes = PCA(64).fit(train)
    expected = distances.frechet(axes.transform(x[:100]), axes.transform(y))
    assert projected.value == pytest.approx(expected, rel=1e-6)
    assert distances.frechet_score(x[:64], y, train, "e").value is None
    assert "64" in str(distances.frechet_score(x, y[:64], train, "e").reason)


@pytest.mark.parametrize("rows, columns", [(30, 80), (200, 20)])
def test_pca_spans_what_scikit_learn_finds(rows, columns):
    x = np.random.default_rng(5).normal(size=(rows, columns)) * np.linspace(1, 5, columns)
    ours, theirs = distances.pca(x, 6)(x).numpy(), PCA(6).fit_transform(x)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-8)


def test_precision_and_recall_agree_with_scikit_learn(sets):
    samples, real = sets
    samples = samples[:90]

    def radii(x):
        return NearestNeighbors(n_neighbors=3).fit(x).kneighbors()[0][:, -1]

    gaps = np.linalg.norm(samples[:, None] - real[None], axis=2)
    precision = (gaps <= radii(real)[None]).any(1).mean()
    recall = (gaps <= radii(samples)[:, None]).any(0).mean()
    ours = distances.precision_recall(samples, real)
    assert ours == pytest.approx((precision, recall), abs=1e-12)
    assert 0 < precision < 1 and 0 < recall < 1 and precision != recall


def test_density_and_coverage_by_counting(sets):
    samples, real = (s[:40] for s in sets)
    density, covered = 0, 0
    for centre in real:
        others = sorted(np.linalg.norm(real - centre, axis=1))
        radius = others[5]  # the fifth other image; the first is the image itself
        inside = sum(np.linalg.norm(s - centre) < radius for s in samples)
        density, covered = density + inside, covered + (inside > 0)
    ours = distances.density_coverage(samples, real)
    assert ours == pytest.approx((density / (5 * 40), covered / 40), abs=1e-12)


def test_diversity_by_counting_and_of_a_copier():
    rng = np.random.default_rng(6)
    centres = np.array([[0.0, 0.0], [100.0, 0.0]])
    samples = np.concatenate([rng.normal(size=(6, 2)), rng.normal(size=(3, 2)) + [100, 0]])
    means = []
    for part in (samples[:6], samples[6:]):
        pairs = [np.linalg.norm(a - b) for i, a in enumerate(part) for b in part[:i]]
        means.append(np.mean(pairs))
    expected = (6 * means[0] + 3 * means[1]) / 9
    assert distances.diversity(samples, centres) == pytest.approx(expected, rel=1e-9)
    assert distances.diversity(np.repeat(samples[:1], 9, 0), centres) == pytest.approx(0, abs=1e-6)
    assert distances.diversity(samples[[0, 8]], centres) is None
