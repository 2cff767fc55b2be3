"""Noise schedules: t ↦ (α, σ), where x_t = α x₀ + σ ε and t runs from 0 (clean) to 1 (noise).

Each schedule is written so that α and σ keep their *relative* precision at both ends, in float32
too: neither is computed as √(1 − something near 1). The log-SNR λ = log(α²/σ²) falls strictly from
+∞ at t = 0, where σ = 0 exactly, and has a closed inverse.

    ddpm-linear   ᾱ = Π (1 − β), β from 10⁻⁴ to 0.02 in 1,000 steps   α² = ᾱ,  σ² = 1 − ᾱ
    cosine        ᾱ = cos²(a) / cos²(b)                               α² = ᾱ,  σ² = 1 − ᾱ
    flow          straight line from image to noise                   α = 1 − t,  σ = t
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from typing_extensions import override


@dataclass(frozen=True)
class Schedule(ABC):
    """The map t ↦ (α, σ). Times are float32 or float64 in [0, 1]; shape, dtype and device stay."""

    name: ClassVar[str]

    @abstractmethod
    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return α(t) and σ(t), each of t's shape."""

    @abstractmethod
    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        """Return the t of this log-SNR; beyond the schedule's range, its nearest end."""

    def log_snr(self, t: Tensor) -> Tensor:
        """Return λ = log(α²/σ²): +∞ at t = 0, and −∞ at t = 1 where the schedule ends in α = 0."""
        alpha, sigma = self(t)
        return 2 * (alpha.log() - sigma.log())


@dataclass(frozen=True)
class DDPMLinear(Schedule):
    """The linear betas of DDPM (Ho et al. 2020, section 4), in continuous time.

    At t = i/steps, α² is exactly the product of the first i factors 1 − β; between these points
    log α² is linear, so that t = 0 is the clean image. It ends at log-SNR −10.1, not at pure noise.
    """

    name: ClassVar[str] = "ddpm-linear"
    first: float = 1e-4
    last: float = 0.02
    steps: int = 1000

    @override
    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        knots = _minus_log_alpha_squared(self, t.device, t.dtype)
        place = t * self.steps
        left = place.long().clamp(0, self.steps - 1)
        decay = torch.lerp(knots[left], knots[left + 1], place - left)
        return torch.exp(-decay / 2), torch.sqrt(-torch.expm1(-decay))

    @override
    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        knots = _minus_log_alpha_squared(self, log_snr.device, log_snr.dtype)
        decay = -logsigmoid(log_snr)
        left = (torch.searchsorted(knots, decay, right=True) - 1).clamp(0, self.steps - 1)
        share = (decay - knots[left]) / (knots[left + 1] - knots[left])
        return ((left + share) / self.steps).clamp(0, 1)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is kept must serve training, whoever asked first
def _minus_log_alpha_squared(
    schedule: DDPMLinear, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """−log α² at t = 0, 1/steps, ..., 1, summed in float64 and kept for each device and dtype."""
    betas = torch.linspace(schedule.first, schedule.last, schedule.steps, dtype=torch.float64)
    decay = -torch.log1p(-betas).cumsum(0)
    return torch.cat([decay.new_zeros(1), decay]).to(device=device, dtype=dtype)


@dataclass(frozen=True)
class Cosine(Schedule):
    """The cosine schedule (Nichol & Dhariwal 2021, equation 17), with its offset s.

    ᾱ(t) = f(t)/f(0), f(t) = cos²(a), a = (t + s)/(1 + s) · π/2; with b = a at t = 0 this is

        α = sin((1 − t) k) / cos b,    σ² = sin(t k) sin(t k + 2b) / cos² b,    k = π / (2 + 2s).

    The paper's clipping of β at 0.999 serves a discrete chain and only moves the last of its 1,000
    steps; it is left out, so that the schedule ends in pure noise: α(1) = 0.
    """

    name: ClassVar[str] = "cosine"
    offset: float = 0.008

    @property
    def _angles(self) -> tuple[float, float]:
        k = math.pi / (2 + 2 * self.offset)
        return k, self.offset * k

    @override
    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        k, b = self._angles
        alpha = torch.sin((1 - t) * k) / math.cos(b)
        variance = torch.sin(t * k) * torch.sin(t * k + 2 * b) / math.cos(b) ** 2
        return alpha, variance.sqrt()

    @override
    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        k, b = self._angles
        alpha_squared, sigma_squared = torch.sigmoid(log_snr), torch.sigmoid(-log_snr)
        sine = torch.sqrt(math.sin(b) ** 2 + math.cos(b) ** 2 * sigma_squared)
        cosine = math.cos(b) * alpha_squared.sqrt()
        return ((torch.atan2(sine, cosine) - b) / k).clamp(0, 1)


@dataclass(frozen=True)
class RectifiedFlow(Schedule):
    """The straight path of rectified flow (Liu et al. 2023): α = 1 − t, σ = t; ends in α = 0."""

    name: ClassVar[str] = "flow"

    @override
    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t

    @override
    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-log_snr / 2)


SCHEDULES: dict[str, Schedule] = {
    schedule.name: schedule for schedule in (DDPMLinear(), Cosine(), RectifiedFlow())
}
