"""Solvers: from the starting noise to an image, through given times, as functions of a denoiser.

With x̂₀ = E[x₀ | x_t] and ε̂ = (x_t − α x̂₀)/σ = E[ε | x_t], the deterministic path from noise to
image obeys, on every schedule (Song et al. 2021, "Score-based", equation 13, in these terms),

    dx = x̂₀ dα + ε̂ dσ.                                                              (1)

    ddim       the Euler step of (1): x_s = x_t + x̂₀ Δα + ε̂ Δσ = α_s x̂₀ + σ_s ε̂       order 1
    heun       the trapezoid of (1), with x̂₀ and ε̂ averaged over both ends             order 2
    dpmpp_2m   the DDIM step with x̂₀ extrapolated, linearly in log(α/σ), to mid-step    order 2
    ddpm       a draw from q(x_s | x_t, x̂₀): noise is taken out, and some put back      random
    dpmpp_2m_sde   the same draw with x̂₀ extrapolated as in dpmpp_2m                    random

On the rectified flow (1) is dx = û dt and Heun is Heun on û; at α = 1 it is Karras et al. 2022,
algorithm 1. The times are kept on the host in float64, so that each step's coefficients are plain
numbers: nothing on the device waits for them. Nothing mixes the samples of a batch.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from torch import Tensor, lerp

from kurabe.diffusion.denoiser import Denoiser
from kurabe.diffusion.schedule import Schedule

Callback: TypeAlias = Callable[[int, float, Tensor, Tensor], None]
"""Called once a step, after its first evaluation, with (step, t, x_t, x̂₀)."""
StepNoise: TypeAlias = Callable[[int], Tensor]


class _Point(NamedTuple):
    """A time and its coefficients, as plain numbers."""

    t: float
    alpha: float
    sigma: float

    @property
    def half_log_snr(self) -> float:
        """log(α/σ), DPM-Solver's λ; infinite at the ends of a schedule."""
        if self.alpha == 0 or self.sigma == 0:
            return math.inf if self.alpha else -math.inf
        return math.log(self.alpha / self.sigma)


def _steps(schedule: Schedule, times: Tensor) -> list[tuple[int, _Point, _Point]]:
    """(number, from, to) of each step; the one place where times become numbers."""
    columns = (values.tolist() for values in (times, *schedule(times)))
    points = [_Point(*row) for row in zip(*columns, strict=True)]
    return [(step, *pair) for step, pair in enumerate(pairwise(points))]


_Take: TypeAlias = Callable[[int, Tensor, Tensor, _Point, _Point], Tensor]
"""One step: its number, x_t, x̂₀, from, to → x_s."""


def _follow(
    take: _Take,
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    condition: Tensor | None,
    callback: Callback | None,
) -> Tensor:
    """What all solvers share: at each time x̂₀ is asked for once, and one step is taken."""
    for step, now, then in _steps(denoiser.schedule, times):
        x0 = _denoise(denoiser, x, now.t, condition)
        if callback:
            callback(step, now.t, x, x0)
        x = take(step, x, x0, now, then)
    return x


def _denoise(denoiser: Denoiser, x: Tensor, t: float, condition: Tensor | None) -> Tensor:
    return denoiser(x, x.new_full((len(x),), t), condition)


def _ddim_step(_: int, x: Tensor, x0: Tensor, now: _Point, then: _Point) -> Tensor:
    """α_s x̂₀ + σ_s ε̂, with ε̂ written out; σ_t > 0 at every time one steps from."""
    ratio = then.sigma / now.sigma
    return ratio * x + (then.alpha - ratio * now.alpha) * x0


def _drawn_steps(noise: StepNoise) -> _Take:
    """Draws from q(x_s | x_t, x̂₀); see `ddpm` for their means and variances."""

    def take(step: int, x: Tensor, x0: Tensor, now: _Point, then: _Point) -> Tensor:
        shrink = now.alpha / then.alpha * (then.sigma / now.sigma) ** 2
        kept = 1 - shrink * now.alpha / then.alpha
        x = shrink * x + kept * then.alpha * x0
        return x if then.sigma == 0 else x + math.sqrt(kept) * then.sigma * noise(step)

    return take


def ddpm(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    noise: StepNoise,
    condition: Tensor | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Ancestral sampling (Ho et al. 2020, equations 6 and 7; its smaller variance β̃).

    With r = SNR_t / SNR_s, x_s is drawn from a normal of mean
    (α_t/α_s)(σ_s/σ_t)² x_t + (1 − r) α_s x̂₀ and variance (1 − r) σ_s².
    `x` is (B, ...), drawn at times[0]; `noise(step)` gives standard noise of x's shape.
    """
    return _follow(_drawn_steps(noise), denoiser, x, times, condition, callback)


def ddim(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    condition: Tensor | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Deterministic DDIM (Song et al. 2021, "Denoising diffusion implicit models", η = 0).

    `x` is (B, ...), drawn at times[0]; the return value belongs to the last of `times`.
    """
    return _follow(_ddim_step, denoiser, x, times, condition, callback)


def heun(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    condition: Tensor | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Heun's method on equation (1): two evaluations a step, one where a step ends in σ = 0.

    `x` is (B, ...), drawn at times[0]; the return value belongs to the last of `times`.
    """

    def take(step: int, x: Tensor, x0: Tensor, now: _Point, then: _Point) -> Tensor:
        guess = _ddim_step(step, x, x0, now, then)
        if then.sigma == 0:
            return guess
        x0_then = _denoise(denoiser, guess, then.t, condition)
        eps = (x - now.alpha * x0) / now.sigma
        eps_then = (guess - then.alpha * x0_then) / then.sigma
        x = x + (then.alpha - now.alpha) / 2 * (x0 + x0_then)
        return x + (then.sigma - now.sigma) / 2 * (eps + eps_then)

    return _follow(take, denoiser, x, times, condition, callback)


def _at_mid_step(take: _Take) -> _Take:
    """The same steps with x̂₀ extrapolated, from the last step's to the middle of their own."""
    last_x0: Tensor | None = None
    last_width = math.inf

    def extrapolated(step: int, x: Tensor, x0: Tensor, now: _Point, then: _Point) -> Tensor:
        nonlocal last_x0, last_width
        width = then.half_log_snr - now.half_log_snr
        reach = width / (2 * last_width) if last_x0 is not None and then.sigma > 0 else 0.0
        mid = lerp(x0, x if last_x0 is None else last_x0, -reach)
        last_x0, last_width = x0, width
        return take(step, x, mid, now, then)

    return extrapolated


def dpmpp_2m(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    condition: Tensor | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): one evaluation a step, order 2.

    The first step and one that ends in σ = 0 are DDIM's. `x` is (B, ...), drawn at times[0]; the
    return value belongs to the last of `times`.
    """
    return _follow(_at_mid_step(_ddim_step), denoiser, x, times, condition, callback)


def dpmpp_2m_sde(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    noise: StepNoise,
    condition: Tensor | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """SDE-DPM-Solver++(2M) (Lu et al. 2022, appendix B): ddpm's draw, x̂₀ taken at mid-step.

    Noise put back at every step washes out what a network got wrong at the steps before, which
    the deterministic path keeps. Arguments and answer as in `ddpm`, whose equal it is where x̂₀
    does not move.
    """
    return _follow(_at_mid_step(_drawn_steps(noise)), denoiser, x, times, condition, callback)
