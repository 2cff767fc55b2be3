"""Weightings against their formulae, at SNRs written out by hand, and against diffusers' SNR."""

import math

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from kurabe.diffusion.schedule import DDPMLinear, RectifiedFlow
from kurabe.diffusion.weighting import WEIGHTINGS, min_snr, p2

# name → weight on the x₀-error at SNR = 1/4, 1, 9
BY_HAND = {
    "x0": [1, 1, 1],
    "eps": [0.25, 1, 9],
    "v": [1.25, 2, 10],
    "flow": [2.25, 4, 16],
    "min-snr": [0.25, 1, 5],
    "p2": [0.2, 0.5, 0.9],
}


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_weight_by_hand(name):
    log_snr = torch.tensor([0.25, 1, 9], dtype=torch.float64).log()
    assert WEIGHTINGS[name](log_snr).tolist() == pytest.approx(BY_HAND[name], rel=1e-12)


def test_parameters_of_min_snr_and_p2():
    log_snr = torch.tensor(math.log(4.0), dtype=torch.float64)
    assert min_snr(log_snr, gamma=3).item() == pytest.approx(3)
    assert p2(log_snr, k=2, gamma=0.5).item() == pytest.approx(4 / math.sqrt(6))


def test_flow_weight_is_one_over_sigma_squared_on_the_flow_schedule():
    t = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    weight = WEIGHTINGS["flow"](RectifiedFlow().log_snr(t))
    torch.testing.assert_close(weight, 1 / t**2, rtol=1e-10, atol=0)


def test_eps_weight_is_diffusers_snr():
    steps = torch.arange(1000)
    theirs = compute_snr(DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02), steps)
    ours = WEIGHTINGS["eps"](DDPMLinear().log_snr((steps + 1).double() / 1000))
    torch.testing.assert_close(ours.float(), theirs, rtol=5e-4, atol=0)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_weights_are_finite_and_positive_over_all_that_float32_meets(name):
    weights = WEIGHTINGS[name](torch.linspace(-40, 40, 161))
    assert weights.isfinite().all()
    assert (weights > 0).all()
