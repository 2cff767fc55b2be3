"""Denoising loss on images that training never saw, comparable between methods.

For each image and each band of log-SNR λ one λ is drawn in the band, x_t = α x₀ + σ ε is formed
with (α, σ) at that λ, and the error is the mean over an image's values of (x̂₀(x_t) − x₀)². The λ
and the ε are functions of (image, band) alone, so all runs meet the same noise; being an x₀-error
at a stated λ, it does not depend on prediction type or schedule. Its floor is the posterior
variance E[Var(x₀ | x_t)]. Images in [−1, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kurabe.diffusion import Denoiser
from kurabe.randomness import normal, uniform
from kurabe.training.devices import at_once

_PURPOSE = "held-out loss"


def band_log_snrs(
    edges: Sequence[float], positions: Sequence[int], draw: int = 0
) -> NDArray[np.float32]:
    """One log-SNR in each band for each image, float32 (N, bands)."""
    low, high = np.array(edges[:-1]), np.array(edges[1:])
    views = range(draw * len(low), (draw + 1) * len(low))
    shares = np.stack([uniform(0, _PURPOSE, positions, view) for view in views], axis=1)
    return (low + shares * (high - low)).astype(np.float32)


@torch.inference_mode()
def held_out_loss(
    denoiser: Denoiser,
    images: Tensor,
    positions: Sequence[int],
    edges: Sequence[float],
    batch: int = 64,
    draws: int = 1,
) -> Tensor:
    """x₀-error of every image in every band, averaged over draws: float32 (N, bands).

    images: (N, C, H, W); positions: their places in the data set, which name their noise;
    edges: bands + 1 rising log-SNRs.
    """
    device = next((p.device for p in denoiser.parameters()), images.device)
    batch = at_once(batch, device)
    errors = torch.zeros(len(images), len(edges) - 1)
    for draw in range(draws):
        log_snrs = torch.from_numpy(band_log_snrs(edges, positions, draw))
        for band in range(len(edges) - 1):
            view = draw * (len(edges) - 1) + band
            for start in range(0, len(images), batch):
                rows = slice(start, start + batch)
                x0 = images[rows].to(device)
                noise = normal(0, _PURPOSE, positions[rows], tuple(x0.shape[1:]), view)
                t = denoiser.schedule.time_of_log_snr(log_snrs[rows, band].double()).to(x0)
                x_t = denoiser.noisy(x0, torch.from_numpy(noise).to(x0), t)
                error = (denoiser(x_t, t) - x0).square().flatten(1).mean(1)
                errors[rows, band] += error.cpu() / draws
    return errors


@dataclass
class HeldOut:
    """The validation images of a run, to be asked again and again.

    images: float32 (N, C, H, W); positions: their places in the data set.
    """

    images: NDArray[np.float32]
    positions: NDArray[np.int64]
    edges: Sequence[float]

    def loss(self, denoiser: Denoiser) -> list[float]:
        """Mean x₀-error in each band."""
        positions = self.positions[: len(self.images)].tolist()
        errors = held_out_loss(denoiser, torch.from_numpy(self.images), positions, self.edges)
        return [float(value) for value in errors.mean(0)]
