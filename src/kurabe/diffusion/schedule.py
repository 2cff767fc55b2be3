"""Noise schedules: t ↦ (α, σ), where x_t = α x₀ + σ ε and t runs from 0 (clean) to 1 (noise).

Each schedule is written so that α and σ keep their *relative* precision at both ends, in float32
too: neither is computed as √(1 − something near 1). The log-SNR λ = log(α²/σ²) falls strictly from
+∞ at t = 0, where σ = 0 exactly, and has a closed inverse.

    ddpm-linear   ᾱ = Π (1 − β), β from 10⁻⁴ to 0.02 in 1,000 steps   α² = ᾱ,  σ² = 1 − ᾱ
    cosine        ᾱ = cos²(a) / cos²(b)                               α² = ᾱ,  σ² = 1 − ᾱ
    flow          straight line from image to noise                   α = 1 − t,  σ = t

`Betas` is any other chain of steps, with the parameters that a diffusers scheduler states.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from typing_extensions import override

from kurabe.errors import UserError

Curve: TypeAlias = Literal["linear", "scaled-linear", "squared-cosine", "sigmoid", "given"]
Timesteps: TypeAlias = Literal["leading", "trailing", "linspace"]


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

    def own_times(self, steps: int) -> Tensor:
        """Return the steps + 1 falling times that its maker's sampler passes through, float64.

        Raises UserError where nobody stated them.
        """
        raise UserError(
            f'The schedule {self.name} states no times of its own; give another spacing than "own".'
        )

    def log_snr(self, t: Tensor) -> Tensor:
        """Return λ = log(α²/σ²): +∞ at t = 0, and −∞ at t = 1 where the schedule ends in α = 0."""
        alpha, sigma = self(t)
        return 2 * (alpha.log() - sigma.log())


@dataclass(frozen=True)
class Chain(Schedule):
    """A chain of steps with factors 1 − β, in continuous time.

    At t = i/steps, α² is exactly the product of the first i factors; between these points log α²
    is linear, so that t = 0 is the clean image. Where the last β is 1, the chain ends in pure
    noise, and α itself falls linearly over the last step.
    """

    steps: int

    @abstractmethod
    def betas(self) -> Tensor:
        """Return β of each step, (steps,), in float64."""

    @override
    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        knots = _minus_log_alpha_squared(self, t.device, t.dtype)
        place = t * self.steps
        left = place.long().clamp(0, len(knots) - 2)
        decay = torch.lerp(knots[left], knots[left + 1], place - left)
        alpha, sigma = torch.exp(-decay / 2), torch.sqrt(-torch.expm1(-decay))
        if len(knots) > self.steps:
            return alpha, sigma
        # The chain's last knot is infinite and was left out.
        last, falling = place > self.steps - 1, torch.exp(-knots[-1] / 2) * (self.steps - place)
        noisy = torch.sqrt((1 - falling) * (1 + falling))
        return torch.where(last, falling, alpha), torch.where(last, noisy, sigma)

    @override
    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        knots = _minus_log_alpha_squared(self, log_snr.device, log_snr.dtype)
        decay = -logsigmoid(log_snr)
        left = (torch.searchsorted(knots, decay, right=True) - 1).clamp(0, len(knots) - 2)
        place = left + (decay - knots[left]) / (knots[left + 1] - knots[left])
        if len(knots) <= self.steps:
            falling = self.steps - torch.exp((knots[-1] - decay) / 2)
            place = torch.where(decay > knots[-1], falling, place)
        return (place / self.steps).clamp(0, 1)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is kept must serve training, whoever asked first
def _minus_log_alpha_squared(schedule: Chain, device: torch.device, dtype: torch.dtype) -> Tensor:
    """−log α² at t = 0, 1/steps, ..., 1, summed in float64 and kept for each device and dtype.

    Without its last value where that is infinite.
    """
    decay = -torch.log1p(-schedule.betas()).cumsum(0)
    known = torch.cat([decay.new_zeros(1), decay[decay.isfinite()]])
    return known.to(device=device, dtype=dtype)


@dataclass(frozen=True)
class DDPMLinear(Chain):
    """The linear betas of DDPM (Ho et al. 2020, section 4); ends at log-SNR −10.1."""

    name: ClassVar[str] = "ddpm-linear"
    first: float = 1e-4
    last: float = 0.02
    steps: int = 1000

    @override
    def betas(self) -> Tensor:
        return torch.linspace(self.first, self.last, self.steps, dtype=torch.float64)


@dataclass(frozen=True)
class Betas(Chain):
    """A chain as diffusers' schedulers describe one, with the times that its sampler visits.

    curve: how β goes from `first` to `last`: "linear"; "scaled-linear", linear in √β (Rombach et
        al. 2022); "squared-cosine" (Nichol & Dhariwal 2021, β at most 0.999); "sigmoid" (Xu et
        al. 2022); "given", the numbers in `given`.
    zero_terminal: α is shifted and scaled to end in 0 and begin where it began (Lin et al. 2024,
        "Common diffusion noise schedules and sample steps are flawed", algorithm 1).
    spacing, offset, ends_clean: `own_times`. Timestep k of a diffusers scheduler, whose α² is the
        product of the first k + 1 factors, is t = (k + 1)/steps.
    """

    name: ClassVar[str] = "betas"
    steps: int = 1000
    curve: Curve = "linear"
    first: float = 1e-4
    last: float = 0.02
    given: tuple[float, ...] = ()
    zero_terminal: bool = False
    spacing: Timesteps = "leading"
    offset: int = 0
    ends_clean: bool = True

    @override
    def betas(self) -> Tensor:
        betas = self._curve()
        if not self.zero_terminal:
            return betas
        root = torch.exp(torch.log1p(-betas).cumsum(0) / 2)
        root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
        squared = torch.cat([root.new_ones(1), root]).square()
        return 1 - squared[1:] / squared[:-1]

    def _curve(self) -> Tensor:
        even = torch.linspace(0, 1, self.steps, dtype=torch.float64)
        match self.curve:
            case "linear":
                return self.first + (self.last - self.first) * even
            case "scaled-linear":
                first, last = self.first**0.5, self.last**0.5
                return (first + (last - first) * even).square()
            case "squared-cosine":
                points = torch.arange(self.steps + 1, dtype=torch.float64) / self.steps
                bars = torch.cos((points + 0.008) / 1.008 * (math.pi / 2)).square()
                return (1 - bars[1:] / bars[:-1]).clamp(max=0.999)
            case "sigmoid":
                return torch.sigmoid(12 * even - 6) * (self.last - self.first) + self.first
            case "given":
                return torch.tensor(self.given, dtype=torch.float64)

    @override
    def own_times(self, steps: int) -> Tensor:
        if not 1 <= steps <= self.steps:
            raise UserError(f"this schedule has 1 to {self.steps} steps, not {steps}")
        even = torch.arange(steps, dtype=torch.float64)
        match self.spacing:
            case "leading":
                points = (even * (self.steps // steps)).flip(0) + self.offset
            case "trailing":
                points = (self.steps - even * (self.steps / steps)).round() - 1
            case "linspace":
                points = torch.linspace(0, self.steps - 1, steps, dtype=torch.float64)
                points = points.round().flip(0)
        times = ((points + 1) / self.steps).clamp(max=1)
        return torch.cat([times, times.new_tensor([0.0 if self.ends_clean else 1 / self.steps])])


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
        # The larger of the two follows from the smaller: processors round a sine differently, and
        # the ends have to be 1 and 0 on each of them.
        sigma = torch.where(alpha.square() < 0.5, 1 - alpha.square(), variance).sqrt()
        return torch.where(variance < 0.5, (1 - variance).sqrt(), alpha), sigma

    @override
    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        k, b = self._angles
        alpha_squared, sigma_squared = torch.sigmoid(log_snr), torch.sigmoid(-log_snr)
        sine = torch.sqrt(math.sin(b) ** 2 + math.cos(b) ** 2 * sigma_squared)
        cosine = math.cos(b) * alpha_squared.sqrt()
        return ((torch.atan2(sine, cosine) - b) / k).clamp(0, 1)


@dataclass(frozen=True)
class RectifiedFlow(Schedule):
    """The straight path of rectified flow (Liu et al. 2023): α = 1 − t, σ = t; ends in α = 0.

    shift, steps: `own_times` are those of diffusers' Euler sampler for flows: even in t over
    [1/steps, 1], each then moved to s t / (1 + (s − 1) t) (Esser et al. 2024, section 5.3.2).
    """

    name: ClassVar[str] = "flow"
    shift: float = 1.0
    steps: int = 1000

    @override
    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t

    @override
    def time_of_log_snr(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-log_snr / 2)

    @override
    def own_times(self, steps: int) -> Tensor:
        if not 1 <= steps <= self.steps:
            raise UserError(f"this schedule has 1 to {self.steps} steps, not {steps}")
        # diffusers' scheduler moves the ends of the range too, before it lays the points.
        low = self._moved(torch.tensor(1 / self.steps, dtype=torch.float64)).item()
        times = self._moved(torch.linspace(1, low, steps, dtype=torch.float64))
        return torch.cat([times, times.new_zeros(1)])

    def _moved(self, t: Tensor) -> Tensor:
        return self.shift * t / (1 + (self.shift - 1) * t)


SCHEDULES: dict[str, Schedule] = {
    schedule.name: schedule for schedule in (DDPMLinear(), Cosine(), RectifiedFlow())
}
