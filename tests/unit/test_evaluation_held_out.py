"""Held-out loss of the exact denoiser of Gaussian images, against its closed form."""

import numpy as np
import pytest
import torch

from kurabe.diffusion import SCHEDULES, GaussianDenoiser
from kurabe.training.held_out import band_log_snrs, held_out_loss

EDGES = (-4.0, -1.0, 2.0, 5.0)
VARIANCES = np.array([2.0, 0.5, 0.1, 0.01])


def gaussian_images(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    mean = rng.normal(size=4)
    x = mean + (rng.normal(size=(count, 4)) * np.sqrt(VARIANCES)) @ axes.T
    covariance = axes @ np.diag(VARIANCES) @ axes.T
    as_image = torch.from_numpy(x).float().view(count, 1, 2, 2)
    return (
        as_image,
        torch.from_numpy(mean).float().view(1, 2, 2),
        torch.from_numpy(covariance).float(),
    )


@pytest.mark.parametrize("schedule", ["ddpm-linear", "cosine", "flow"])
def test_loss_is_the_posterior_variance_in_every_band(schedule):
    images, mean, covariance = gaussian_images(4000)
    denoiser = GaussianDenoiser(mean, covariance, SCHEDULES[schedule])
    positions = list(range(4000))
    errors = held_out_loss(denoiser, images, positions, EDGES, batch=1000).numpy()
    snr = np.exp(band_log_snrs(EDGES, positions).astype(np.float64))
    # E[(x̂₀ − x₀)²] of each axis is λ / (1 + SNR λ), the posterior variance.
    expected = (VARIANCES / (1 + snr[..., None] * VARIANCES)).mean(-1)
    error = (errors - expected).std(0) / np.sqrt(4000)
    assert (np.abs(errors.mean(0) - expected.mean(0)) < 4 * error).all()
    assert (error < 0.02 * expected.mean(0)).all()


def test_noise_is_fixed_whatever_the_schedule_the_batch_and_the_company():
    images, mean, covariance = gaussian_images(12)
    losses = [
        held_out_loss(GaussianDenoiser(mean, covariance, schedule), images, range(12), EDGES, batch)
        for schedule, batch in ((SCHEDULES["cosine"], 12), (SCHEDULES["flow"], 5))
    ]
    torch.testing.assert_close(losses[0], losses[1], atol=1e-4, rtol=1e-3)
    denoiser = GaussianDenoiser(mean, covariance, SCHEDULES["cosine"])
    alone = held_out_loss(denoiser, images[[7]], [7], EDGES)
    torch.testing.assert_close(alone[0], losses[0][7], atol=1e-5, rtol=1e-4)


def test_a_worse_denoiser_loses_in_every_band():
    images, mean, covariance = gaussian_images(500)
    losses = [
        held_out_loss(
            GaussianDenoiser(m, covariance, SCHEDULES["cosine"]), images, range(500), EDGES
        )
        for m in (mean, mean + 0.7)
    ]
    assert (losses[1].mean(0) > losses[0].mean(0)).all()
