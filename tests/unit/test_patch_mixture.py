"""A mixture of patches against exact posteriors, the densities of scipy, and planted mixtures."""

from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
import torch.nn.functional as F
from torch import Tensor

from kurabe.diffusion import SCHEDULES, GaussianDenoiser
from kurabe.diffusion.mixture import LEAST_VARIANCE, NO_WEIGHT
from kurabe.diffusion.patch_mixture import LEVELS, STRIDE, PatchedDenoiser, PatchMixture

SIDE, CHANNELS = 4, 2
VALUES = CHANNELS * SIDE**2


def filled(components: int, seed: int = 0, sides: tuple[int, int] = (SIDE, SIDE)) -> PatchMixture:
    """A mixture of random numbers, in double precision; one patch an image where `sides` is so."""
    g = torch.Generator().manual_seed(seed)
    mixture = PatchMixture(CHANNELS, sides, components).double()
    size, directions = mixture.axes.shape[1:]
    mixture.centres.normal_(0, 0.5, generator=g)
    mixing = torch.randn(components, size, size, generator=g, dtype=torch.float64)
    mixture.axes.copy_(torch.linalg.qr(mixing)[0][:, :, :directions])
    mixture.variances.uniform_(0.1, 1.5, generator=g)
    mixture.tails.uniform_(0.01, 0.1, generator=g)
    mixture.log_weights.copy_(torch.randn(components, generator=g).log_softmax(0))
    return mixture


def covariance(mixture: PatchMixture, k: int) -> Tensor:
    axes, tail = mixture.axes[k], mixture.tails[k]
    eye = torch.eye(len(axes)).to(axes)
    return axes @ ((mixture.variances[k] - tail).unsqueeze(1) * axes.T) + tail * eye


def log_density(x: np.ndarray, mean: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Of N(mean, of) at the rows of x."""
    normal: Any = scipy.stats.multivariate_normal
    return normal(mean, of).logpdf(x)


def circle(log_snr: float) -> tuple[Tensor, Tensor]:
    value = torch.full((1, 1, 1, 1), log_snr, dtype=torch.float64)
    return value.sigmoid().sqrt(), (-value).sigmoid().sqrt()


@pytest.mark.parametrize("log_snr", [-8.0, -2.0, 0.0, 3.0, 9.0])
def test_one_component_is_the_exact_gaussian_denoiser(log_snr: float) -> None:
    mixture = filled(1)
    schedule = SCHEDULES["cosine"]
    mean = mixture.centres[0].view(CHANNELS, SIDE, SIDE)
    exact = GaussianDenoiser(mean, covariance(mixture, 0), schedule)
    t = schedule.time_of_log_snr(torch.tensor([log_snr], dtype=torch.float64))
    x = torch.randn(1, CHANNELS, SIDE, SIDE, dtype=torch.float64)
    alpha, sigma = exact.coefficients(t, x)
    torch.testing.assert_close(mixture(x, alpha, sigma), exact(x, t), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("log_snr", [-3.0, 0.0, 4.0])
def test_the_posterior_mean_component_by_component(log_snr: float) -> None:
    mixture = filled(5)
    alpha, sigma = circle(log_snr)
    a, s = alpha.item(), sigma.item()
    x = torch.randn(7, CHANNELS, SIDE, SIDE, dtype=torch.float64)
    flat = x.flatten(1).numpy()
    scores, means = [], []
    for k in range(5):
        of = covariance(mixture, k).numpy()
        total = a**2 * of + s**2 * np.eye(VALUES)
        centre = mixture.centres[k].numpy()
        density = log_density(flat, a * centre, total)
        scores.append(mixture.log_weights[k].item() + density)
        means.append(centre + (flat - a * centre) @ np.linalg.solve(total, a * of))
    shares = scipy.special.softmax(np.array(scores), axis=0)
    expected = torch.from_numpy((shares[..., None] * np.array(means)).sum(0)).view_as(x)
    found = mixture(x, alpha.expand(7, 1, 1, 1), sigma.expand(7, 1, 1, 1))
    # Shares below a millionth count as none.
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("sides", [(10, 14), (9, 12)])
def test_a_pixel_is_the_mean_over_the_patches_that_hold_it(sides: tuple[int, int]) -> None:
    mixture = filled(3, sides=sides)
    side = mixture.side
    alone = filled(3, sides=(side, side))
    alpha, sigma = circle(1.0)
    x = torch.randn(1, CHANNELS, *sides, dtype=torch.float64)
    sums, seen = torch.zeros_like(x), torch.zeros_like(x)
    steps = [STRIDE if (s - side) % STRIDE == 0 else 1 for s in sides]
    for i in range(0, sides[0] - side + 1, steps[0]):
        for j in range(0, sides[1] - side + 1, steps[1]):
            at = (..., slice(i, i + side), slice(j, j + side))
            sums[at] += alone(x[at], alpha, sigma)
            seen[at] += 1
    assert seen.min() > 0
    torch.testing.assert_close(mixture(x, alpha, sigma), sums / seen, rtol=0, atol=1e-10)


def planted(count: int, seed: int = 0) -> tuple[Tensor, PatchMixture]:
    """Images of one patch each from three components far enough apart, and these."""
    truth = filled(3, seed=4)
    truth.log_weights.copy_(torch.tensor([0.5, 0.3, 0.2]).log())
    rng = np.random.default_rng(seed)
    kinds = rng.choice(3, count, p=[0.5, 0.3, 0.2])
    images = np.stack([
        rng.multivariate_normal(truth.centres[k].numpy(), covariance(truth, int(k)).numpy())
        for k in kinds
    ])  # fmt: skip
    return torch.from_numpy(images).float().view(count, CHANNELS, SIDE, SIDE), truth


def log_likelihood(mixture: PatchMixture, images: Tensor) -> float:
    scores = [
        mixture.log_weights[k].item()
        + log_density(
            images.flatten(1).numpy(), mixture.centres[k].numpy(), covariance(mixture, k).numpy()
        )
        for k in range(len(mixture.centres))
        if mixture.log_weights[k] > NO_WEIGHT
    ]
    return float(scipy.special.logsumexp(np.array(scores), axis=0).mean())


def test_a_planted_mixture_is_found() -> None:
    """As likely as the truth but for what its parameters cost: about their number / (2 N)."""
    images, truth = planted(3000)
    fresh = planted(2000, seed=1)[0]
    mixture = PatchMixture(CHANNELS, (SIDE, SIDE), 3)
    mixture.fit(images)
    assert sorted(mixture.log_weights.exp().tolist()) == pytest.approx([0.2, 0.3, 0.5], abs=0.02)
    parameters = 3 * (VALUES + VALUES * 16 + 1)
    lost = log_likelihood(truth, fresh) - log_likelihood(mixture.double(), fresh)
    assert 0 < lost < 2 * parameters / (2 * 3000)


def test_there_are_no_more_components_than_patches_ask_for() -> None:
    mixture = PatchMixture(CHANNELS, (SIDE, SIDE), 8)
    mixture.fit(planted(150)[0])
    # Two patches for each of 32 values: 150 // 64.
    assert int((mixture.log_weights > NO_WEIGHT).sum()) == 2


@pytest.mark.parametrize("images", [torch.zeros(20, 1, 8, 8), torch.rand(3, 1, 8, 8)])
def test_images_that_say_little_give_finite_numbers(images: Tensor) -> None:
    denoiser = PatchedDenoiser(1, (8, 8), 8)
    denoiser.fit(images)
    for level in (-20.0, 0.0, 20.0):
        alpha, sigma = (v.float().expand(len(images), 1, 1, 1) for v in circle(level))
        x0, eps = denoiser(alpha * images + sigma, alpha, sigma)
        assert x0.isfinite().all() and eps.isfinite().all()
    assert denoiser.patches.tails.min() > 0.99 * LEAST_VARIANCE


def edges(count: int, seed: int = 0) -> Tensor:
    """Half planes, black and white, at any angle through any place, a little grain on them."""
    g = torch.Generator().manual_seed(seed)
    angle = torch.rand(count, 1, 1, generator=g) * 2 * torch.pi
    far = torch.rand(count, 1, 1, generator=g) - 0.5
    at = torch.linspace(-1, 1, 12)
    side = at.view(1, -1, 1) * angle.cos() + at.view(1, 1, -1) * angle.sin() > far
    grain = 0.02 * torch.randn(count, 12, 12, generator=g)
    return (2 * side.float() - 1 + grain).unsqueeze(1)


def test_together_they_are_nearer_than_either_and_add_up_to_what_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At low noise the patches know more, at high noise the whole; x_t = α x̂₀ + σ ε̂ throughout."""
    monkeypatch.setattr("kurabe.diffusion.patch_mixture.SEEN", 5000)
    denoiser = PatchedDenoiser(1, (12, 12), 16)
    denoiser.fit(edges(600))
    fresh = edges(300, seed=1)
    assert denoiser.shares[LEVELS.index(6.0)] > 0.9
    assert denoiser.shares[0] < 0.5
    for i, level in enumerate(LEVELS[1:-1], 1):
        alpha, sigma = (v.float().expand(300, 1, 1, 1) for v in circle(level))
        g = torch.Generator().manual_seed(i)
        x_t = alpha * fresh + sigma * torch.randn(fresh.shape, generator=g)
        x0, eps = denoiser(x_t, alpha, sigma)
        torch.testing.assert_close(alpha * x0 + sigma * eps, x_t, rtol=0, atol=1e-4)
        both = (x0 - fresh).square().mean()
        whole = (denoiser.whole(x_t, alpha, sigma)[0] - fresh).square().mean()
        patches = (denoiser.patches(x_t, alpha, sigma) - fresh).square().mean()
        assert both <= 1.02 * min(whole, patches), level
    # Where it matters most, the gain is large: edges have no place of their own.
    assert both < 0.5 * whole


def test_between_levels_the_share_is_interpolated() -> None:
    denoiser = PatchedDenoiser(1, (8, 8), 1)
    denoiser.shares.copy_(torch.linspace(0, 1, len(LEVELS)))
    points = torch.linspace(-9, 11, 41)
    expected = np.interp(points.numpy(), LEVELS, denoiser.shares.numpy())
    snr = points.view(-1, 1, 1, 1)
    found = denoiser._share(snr.sigmoid().sqrt(), (-snr).sigmoid().sqrt())
    np.testing.assert_allclose(found.flatten().numpy(), expected, atol=2e-5)


def test_it_leaves_the_format_of_products_to_nobody() -> None:
    """Squares of grey levels in bfloat16 would lose the third digit."""
    denoiser = PatchedDenoiser(1, (12, 12), 4)
    denoiser.fit(edges(16))
    alpha, sigma = (v.float().expand(8, 1, 1, 1) for v in circle(2.0))
    x = edges(8, seed=3)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = denoiser(x, alpha, sigma)[0]
    assert torch.equal(narrow, denoiser(x, alpha, sigma)[0])
    assert F.mse_loss(narrow, x) < 1
