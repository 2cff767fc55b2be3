"""Schedules against the published formulae, computed here by the book, and against diffusers."""

import math

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from kurabe.diffusion.schedule import SCHEDULES, Cosine, DDPMLinear, RectifiedFlow

EVERY = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
times = st.floats(0, 1, width=32)


def published_alpha_bars() -> list[float]:
    """Ho et al. 2020, section 4: T = 1000, β₁ = 10⁻⁴ to β_T = 0.02, ᾱ_t = Π (1 − β)."""
    bars, product = [], 1.0
    for i in range(1000):
        product *= 1 - (1e-4 + (0.02 - 1e-4) * i / 999)
        bars.append(product)
    return bars


def test_ddpm_linear_is_the_product_of_its_published_betas():
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    alpha, sigma = DDPMLinear()(t)
    bars = torch.tensor(published_alpha_bars(), dtype=torch.float64)
    torch.testing.assert_close(alpha.square(), bars, rtol=1e-12, atol=0)
    torch.testing.assert_close(sigma.square(), 1 - bars, rtol=1e-11, atol=0)


def test_ddpm_linear_equals_diffusers():
    theirs = DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02).alphas_cumprod
    alpha, _ = DDPMLinear()(torch.arange(1, 1001) / 1000)
    torch.testing.assert_close(alpha.square(), theirs, rtol=2e-5, atol=1e-7)


def test_ddpm_linear_is_linear_in_log_alpha_between_its_points():
    points = DDPMLinear()(torch.tensor([0.4, 0.401], dtype=torch.float64))[0].log()
    between = DDPMLinear()(torch.tensor(0.40025, dtype=torch.float64))[0].log()
    assert between.item() == pytest.approx((0.75 * points[0] + 0.25 * points[1]).item(), rel=1e-12)


def test_ddpm_linear_first_used_in_inference_mode_can_still_be_differentiated():
    """d log α/dt = steps · log(1 − β_i) / 2 between points i − 1 and i."""
    schedule = DDPMLinear(last=0.0199)
    t = torch.tensor(0.5005, dtype=torch.float64)
    with torch.inference_mode():
        schedule(t)
    t = t.clone().requires_grad_()
    schedule(t)[0].log().backward()
    beta = 1e-4 + (0.0199 - 1e-4) * 500 / 999
    assert t.grad.item() == pytest.approx(500 * math.log(1 - beta), rel=1e-9)


def test_cosine_is_nichol_and_dhariwal_equation_17():
    def f(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    t = torch.linspace(0, 1, 201, dtype=torch.float64)
    alpha, sigma = Cosine()(t)
    bars = torch.tensor([f(u) / f(0) for u in t.tolist()], dtype=torch.float64)
    torch.testing.assert_close(alpha.square(), bars, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(sigma.square(), 1 - bars, rtol=1e-12, atol=1e-15)


def test_cosine_equals_diffusers_up_to_its_clipped_last_step():
    theirs = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2").alphas_cumprod
    ours = Cosine()(torch.arange(1, 1001, dtype=torch.float64) / 1000)[0].square().float()
    torch.testing.assert_close(ours[:-1], theirs[:-1], rtol=2e-5, atol=1e-7)
    assert ours[-1] == 0
    assert theirs[-1] == pytest.approx(1e-3 * theirs[-2].item(), rel=1e-3)


def test_flow_is_the_straight_line():
    t = torch.tensor([0.0, 0.25, 1.0])
    alpha, sigma = RectifiedFlow()(t)
    assert alpha.tolist() == [1, 0.75, 0]
    assert sigma.tolist() == [0, 0.25, 1]


@given(times)
def test_ddpm_linear_and_cosine_preserve_variance_in_float32(t):
    for schedule in (DDPMLinear(), Cosine()):
        alpha, sigma = schedule(torch.tensor(t))
        assert alpha**2 + sigma**2 == pytest.approx(1, abs=5e-7)


@EVERY
def test_the_clean_end_is_exact_and_the_noisy_end_is_noise(schedule):
    alpha, sigma = schedule(torch.tensor([0.0, 1.0]))
    assert (alpha[0], sigma[0]) == (1, 0)
    assert schedule.log_snr(torch.tensor(0.0)) == math.inf
    if schedule.name == "ddpm-linear":
        assert alpha[1].square() == pytest.approx(4.0358e-5, rel=1e-4)
    else:
        assert (alpha[1], sigma[1]) == (0, 1)
        assert schedule.log_snr(torch.tensor(1.0)) == -math.inf


@EVERY
def test_both_ends_keep_their_relative_precision_in_float32(schedule):
    """Held against float64 at the very same times; float32's √(1 − α²) is 0 at the first ones."""
    small = torch.logspace(-7, -1, 61)
    t = torch.cat([small, 1 - small])
    for ours, exact in zip(schedule(t), schedule(t.double()), strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=2e-6, atol=0)
    torch.testing.assert_close(
        schedule.log_snr(t).double(), schedule.log_snr(t.double()), rtol=1e-6, atol=5e-6
    )


@EVERY
@given(t=st.floats(1e-4, 0.9999))
def test_time_of_log_snr_inverts_log_snr(schedule, t):
    time = torch.tensor(t, dtype=torch.float64)
    assert schedule.time_of_log_snr(schedule.log_snr(time)).item() == pytest.approx(t, rel=1e-9)
    single = schedule.time_of_log_snr(schedule.log_snr(time.float()))
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(t, abs=1e-6)


@EVERY
def test_log_snr_falls_strictly(schedule):
    assert (schedule.log_snr(torch.linspace(0, 1, 5001)).diff() < 0).all()


@EVERY
def test_log_snrs_beyond_the_range_give_the_nearest_end(schedule):
    beyond = torch.tensor([math.inf, 300.0, -300.0, -math.inf], dtype=torch.float64)
    expected = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(schedule.time_of_log_snr(beyond), expected, rtol=0, atol=1e-15)
