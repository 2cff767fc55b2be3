"""Predictions, the denoising loss and the Gaussian oracle, held to algebra done another way."""

import math
from itertools import product

import pytest
import torch
from diffusers import DDPMScheduler
from diffusion_oracles import at, gaussian, pointwise
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from kurabe.diffusion import PREDICTIONS, SCHEDULES, WEIGHTINGS, GaussianDenoiser
from kurabe.diffusion.denoiser import MIN_ALPHA, MIN_SIGMA, combine, native_weight, solve

EVERY = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
EACH = pytest.mark.parametrize("prediction", PREDICTIONS)
values = st.floats(-3, 3)


@pytest.fixture(autouse=True)
def _same_numbers_each_time():
    torch.manual_seed(0)


def scalars(*numbers: float) -> tuple[torch.Tensor, ...]:
    return tuple(torch.tensor(number, dtype=torch.float64) for number in numbers)


@EVERY
@EACH
@given(x0=values, eps=values, t=st.floats(0, 1))
def test_a_prediction_determines_image_and_noise(schedule, prediction, x0, eps, t):
    alpha, sigma = schedule(torch.tensor(t, dtype=torch.float64))
    image, noise = scalars(x0, eps)
    x_t = alpha * image + sigma * noise
    y = combine(prediction, image, noise, alpha, sigma)
    found = solve(prediction, y, x_t, alpha, sigma)
    if not (prediction == "eps" and alpha < MIN_ALPHA):
        assert found[0].item() == pytest.approx(x0, abs=1e-11)
    if not (prediction == "x0" and sigma < MIN_SIGMA):
        assert found[1].item() == pytest.approx(eps, abs=1e-9)


def test_what_cannot_be_told_goes_to_the_middle():
    """x₀ from ε at α = 0 and ε from x₀ at σ = 0 are 0; at the threshold they are exact again."""
    y, x_t, zero, one = scalars(0.7, 0.2, 0, 1)
    assert solve("eps", y, x_t, zero, one)[0] == 0
    assert solve("x0", y, x_t, one, zero)[1] == 0
    alpha, sigma = scalars(MIN_ALPHA, math.sqrt(1 - MIN_ALPHA**2))
    x_t = alpha * 0.4 + sigma * y
    assert solve("eps", y, x_t, alpha, sigma)[0].item() == pytest.approx(0.4, abs=1e-12)
    assert solve("eps", y, x_t, alpha / 2, sigma)[0].item() == pytest.approx(0.2, abs=1e-12)


def test_v_is_diffusers_velocity():
    scheduler = DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02)
    x0, noise = torch.randn(2, 5, 3, 4, 4)
    steps = torch.tensor([0, 10, 400, 900, 999])
    denoiser = pointwise(SCHEDULES["ddpm-linear"], "v")
    t = (steps + 1) / 1000
    torch.testing.assert_close(
        denoiser.target(x0, noise, t), scheduler.get_velocity(x0, noise, steps), rtol=0, atol=1e-5
    )
    torch.testing.assert_close(
        denoiser.noisy(x0, noise, t), scheduler.add_noise(x0, noise, steps), rtol=0, atol=1e-5
    )


def test_flow_is_the_velocity_of_the_straight_path():
    denoiser = pointwise(SCHEDULES["flow"], "flow")
    x0, noise = torch.randn(2, 4, 8, dtype=torch.float64)
    t, h = torch.full((4,), 0.3, dtype=torch.float64), 1e-3
    moved = (denoiser.noisy(x0, noise, t + h) - denoiser.noisy(x0, noise, t)) / h
    torch.testing.assert_close(denoiser.target(x0, noise, t), moved, rtol=0, atol=1e-11)


@EVERY
@EACH
def test_the_posterior_mean_does_not_depend_on_the_prediction(schedule, prediction):
    denoiser = pointwise(schedule, prediction).double()
    x_t, t = torch.linspace(-2, 2, 33).double().expand(3, -1), scalars(0.05, 0.5, 0.95)
    t = torch.stack(t)
    expected = torch.tanh(denoiser.backbone.gain * x_t + t[:, None])
    torch.testing.assert_close(denoiser(x_t, t), expected, rtol=0, atol=1e-11)


@EVERY
@EACH
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_loss_is_the_weighted_error_in_x0(schedule, prediction, weighting):
    """Computed here through x̂₀ and the weighting's definition; the loss never forms x̂₀."""
    x0, noise = torch.randn(2, 9, 3, 4, dtype=torch.float64)
    t = torch.linspace(0.02, 0.98, 9, dtype=torch.float64)
    denoiser = pointwise(schedule, prediction).double()
    x_t = denoiser.noisy(x0, noise, t)
    guess = denoiser.predict(x_t, t).prediction + 0.1
    loss = denoiser.loss(guess, x0, noise, t, weighting)
    alpha, sigma = schedule(t)
    weight = WEIGHTINGS[weighting](torch.log(alpha**2 / sigma**2))[:, None, None]
    expected = weight * (denoiser.to_x0(guess, x_t, t) - x0).square()
    torch.testing.assert_close(loss, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "prediction"),
    # On the flow schedule v's plain error has another weight; see native_weight.
    [pair for pair in product(SCHEDULES, PREDICTIONS) if pair != ("flow", "v")],
)
def test_the_native_weighting_is_the_plain_error_at_every_t(name, prediction):
    denoiser = pointwise(SCHEDULES[name], prediction)
    x0, noise = torch.randn(2, 101, 3)
    t = torch.linspace(0, 1, 101)
    y = denoiser.target(x0, noise, t)
    loss = denoiser.loss(y + 0.5, x0, noise, t, prediction)
    torch.testing.assert_close(loss, torch.full_like(loss, 0.25), rtol=1e-5, atol=0)


@EVERY
@EACH
def test_native_weight_is_the_squared_ratio_of_the_errors(schedule, prediction):
    t = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
    alpha, sigma = schedule(t)
    x_t = torch.zeros_like(t)
    here, there = (solve(prediction, x_t + y, x_t, alpha, sigma)[0] for y in (0.0, 1.0))
    torch.testing.assert_close(
        native_weight(prediction, t, schedule), (there - here) ** -2, rtol=1e-9, atol=0
    )


def test_min_snr_is_the_published_factor_on_eps_and_v():
    """Hang et al. 2023: min(SNR, 5)/SNR on the ε-error and min(SNR, 5)/(SNR + 1) on the v-error."""
    x0, noise = torch.randn(2, 50, 3, dtype=torch.float64)
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    snr = SCHEDULES["cosine"].log_snr(t).exp()
    for prediction, native in (("eps", snr), ("v", snr + 1)):
        denoiser = pointwise(SCHEDULES["cosine"], prediction)
        y = denoiser.target(x0, noise, t)
        loss = denoiser.loss(y + 1, x0, noise, t, "min-snr")[:, 0]
        torch.testing.assert_close(loss, snr.clamp(max=5) / native, rtol=1e-9, atol=0)


@EVERY
@EACH
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_losses_and_gradients_are_finite_at_both_ends_in_float32(schedule, prediction, weighting):
    t = torch.tensor([0.0, 1e-7, 0.5, 1 - 6e-8, 1.0])
    x0, noise = torch.randn(2, 5, 4)
    denoiser = pointwise(schedule, prediction)
    guess = torch.zeros(5, 4, requires_grad=True)
    loss = denoiser.loss(guess, x0, noise, t, weighting)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert guess.grad.isfinite().all()


@EVERY
@pytest.mark.parametrize("t", [0.0, 0.1, 0.6, 1.0])
def test_gaussian_denoiser_is_the_conditional_mean(schedule, t):
    """E[x₀|x_t] = μ + Cov(x₀, x_t) Cov(x_t)⁻¹ (x_t − E x_t), by a linear solve."""
    denoiser = gaussian(schedule, [2.0, 0.5, 0.1, 1e-3])
    covariance = denoiser.axes @ torch.diag(denoiser.variances) @ denoiser.axes.T
    alpha, sigma = at(schedule, t)
    x_t = torch.randn(6, 4, dtype=torch.float64)
    total = alpha**2 * covariance + sigma**2 * torch.eye(4, dtype=torch.float64)
    gain = alpha * torch.linalg.solve(total, covariance).T
    expected = denoiser.mean + (x_t - alpha * denoiser.mean) @ gain.T
    found = denoiser(x_t, torch.full((6,), t, dtype=torch.float64))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@EVERY
def test_gaussian_denoiser_is_bayes_by_quadrature(schedule):
    mean, deviation, x_t = 0.4, 0.7, -0.3
    denoiser = GaussianDenoiser(*scalars([mean], [[deviation**2]]), schedule)
    for t in (0.2, 0.5, 0.9):
        alpha, sigma = at(schedule, t)

        def joint(x, alpha=alpha, sigma=sigma):
            return norm.pdf(x, mean, deviation) * norm.pdf(x_t, alpha * x, sigma)

        mass = quad(joint, -6, 6, points=[x_t / alpha, mean])[0]
        expected = quad(lambda x, f=joint: x * f(x), -6, 6, points=[x_t / alpha, mean])[0] / mass
        found = denoiser(*scalars([[x_t]], [t]))
        assert found.item() == pytest.approx(expected, abs=1e-8)


@EVERY
def test_gaussian_denoiser_holds_at_both_ends_and_on_a_point_mass(schedule):
    denoiser = gaussian(schedule, [1.0, 0.3, 0.0]).float()
    x_t = torch.tensor([[0.5, -1.0, 2.0]])
    clean = denoiser(x_t, torch.zeros(1))
    flat = denoiser.axes[:, denoiser.variances == 0]
    expected = x_t - (x_t - denoiser.mean) @ flat @ flat.T
    torch.testing.assert_close(clean, expected, rtol=0, atol=1e-5)
    if schedule.name != "ddpm-linear":
        torch.testing.assert_close(denoiser(x_t, torch.ones(1))[0], denoiser.mean)


def test_gaussian_denoiser_takes_images():
    flat = gaussian(SCHEDULES["flow"], [1.0, 0.6, 0.3, 0.1])
    covariance = flat.axes @ torch.diag(flat.variances) @ flat.axes.T
    image = GaussianDenoiser(flat.mean.view(1, 2, 2), covariance, flat.schedule)
    x_t, t = torch.randn(3, 1, 2, 2, dtype=torch.float64), torch.full((3,), 0.4).double()
    torch.testing.assert_close(image(x_t, t).flatten(1), flat(x_t.flatten(1), t))
