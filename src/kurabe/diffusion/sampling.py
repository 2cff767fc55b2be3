"""Samplers: pure functions of a denoiser, a starting point, and the times to pass through.

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
from collections.abc import Callable, Sequence
from inspect import signature
from itertools import chain, pairwise
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor

from kurabe import randomness, registry
from kurabe.diffusion.denoiser import Denoiser
from kurabe.diffusion.schedule import Schedule
from kurabe.errors import UserError

Spacing: TypeAlias = Literal["uniform-t", "uniform-log-snr", "karras", "own"]
Callback: TypeAlias = Callable[[int, float, Tensor, Tensor], None]
"""Called once a step, after its first evaluation, with (step, t, x_t, x̂₀)."""
StepNoise: TypeAlias = Callable[[int], Tensor]

# Noise of 0.0067 of the signal, below one grey level of 8 bits (2/255 = 0.0078); and signal of
# 0.0067 of the noise, where DDPM's own schedule ends too.
LOG_SNR_RANGE = (-10.0, 10.0)


def time_grid(
    schedule: Schedule,
    steps: int,
    kind: Spacing = "uniform-t",
    log_snr: tuple[float, float] = LOG_SNR_RANGE,
) -> Tensor:
    """Return steps + 1 falling times from 1 to 0, float64 on the host.

    uniform-t        even steps in t
    uniform-log-snr  even steps in log-SNR (Lu et al. 2022) inside `log_snr`, then one to 0
    karras           even steps in (σ/α)^(1/7) (Karras et al. 2022, equation 5), likewise
    own              the times that the schedule's maker samples at, which need not be 1 to 0

    The middle two spread over the part of `log_snr` that the schedule reaches; their first time is
    moved to 1, where the starting noise belongs. Raises UserError for fewer than one step.
    """
    if steps < 1:
        raise UserError(f"sampling takes at least 1 step, not {steps}")
    if kind == "own":
        return schedule.own_times(steps)
    if kind == "uniform-t":
        return torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    start = max(log_snr[0], schedule.log_snr(torch.ones((), dtype=torch.float64)).item())
    match kind:
        case "uniform-log-snr":
            levels = torch.linspace(start, log_snr[1], steps, dtype=torch.float64)
        case "karras":
            roots = torch.linspace(
                math.exp(-start / 14), math.exp(-log_snr[1] / 14), steps, dtype=torch.float64
            )
            levels = -14 * roots.log()
        case _:
            known = ", ".join(get_args(Spacing))
            raise UserError(f"unknown spacing of times '{kind}'; one of {known}")
    times = schedule.time_of_log_snr(levels)
    times[0] = 1
    return torch.cat([times, times.new_zeros(1)])


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


def _denoise(denoiser: Denoiser, x: Tensor, t: float, condition: Tensor | None) -> Tensor:
    return denoiser(x, x.new_full((len(x),), t), condition)


def _ddim_step(x: Tensor, x0: Tensor, now: _Point, then: _Point) -> Tensor:
    """α_s x̂₀ + σ_s ε̂, with ε̂ written out; σ_t > 0 at every time one steps from."""
    ratio = then.sigma / now.sigma
    return ratio * x + (then.alpha - ratio * now.alpha) * x0


def _drawn_step(
    x: Tensor, x0: Tensor, now: _Point, then: _Point, step: int, noise: StepNoise
) -> Tensor:
    """A draw from q(x_s | x_t, x̂₀); see `ddpm` for its mean and variance."""
    shrink = now.alpha / then.alpha * (then.sigma / now.sigma) ** 2
    kept = 1 - shrink * now.alpha / then.alpha
    x = shrink * x + kept * then.alpha * x0
    return x if then.sigma == 0 else x + math.sqrt(kept) * then.sigma * noise(step)


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
    for step, now, then in _steps(denoiser.schedule, times):
        x0 = _denoise(denoiser, x, now.t, condition)
        if callback:
            callback(step, now.t, x, x0)
        x = _drawn_step(x, x0, now, then, step, noise)
    return x


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
    for step, now, then in _steps(denoiser.schedule, times):
        x0 = _denoise(denoiser, x, now.t, condition)
        if callback:
            callback(step, now.t, x, x0)
        x = _ddim_step(x, x0, now, then)
    return x


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
    for step, now, then in _steps(denoiser.schedule, times):
        x0 = _denoise(denoiser, x, now.t, condition)
        if callback:
            callback(step, now.t, x, x0)
        guess = _ddim_step(x, x0, now, then)
        if then.sigma == 0:
            x = guess
            continue
        x0_then = _denoise(denoiser, guess, then.t, condition)
        eps = (x - now.alpha * x0) / now.sigma
        eps_then = (guess - then.alpha * x0_then) / then.sigma
        x = x + (then.alpha - now.alpha) / 2 * (x0 + x0_then)
        x = x + (then.sigma - now.sigma) / 2 * (eps + eps_then)
    return x


def _two_steps(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    take: Callable[[int, Tensor, Tensor, _Point, _Point], Tensor],
    condition: Tensor | None,
    callback: Callback | None,
) -> Tensor:
    """Steps by `take`, each with x̂₀ extrapolated from the last one to the middle of its own."""
    last_x0, last_width = x, math.inf
    for step, now, then in _steps(denoiser.schedule, times):
        x0 = _denoise(denoiser, x, now.t, condition)
        if callback:
            callback(step, now.t, x, x0)
        width = then.half_log_snr - now.half_log_snr
        reach = width / (2 * last_width) if step > 0 and then.sigma > 0 else 0.0
        x = take(step, x, torch.lerp(x0, last_x0, -reach), now, then)
        last_x0, last_width = x0, width
    return x


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

    def take(step: int, x: Tensor, x0: Tensor, now: _Point, then: _Point) -> Tensor:
        return _ddim_step(x, x0, now, then)

    return _two_steps(denoiser, x, times, take, condition, callback)


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

    def take(step: int, x: Tensor, x0: Tensor, now: _Point, then: _Point) -> Tensor:
        return _drawn_step(x, x0, now, then, step, noise)

    return _two_steps(denoiser, x, times, take, condition, callback)


def takes_noise(solver: str) -> bool:
    """Whether the solver puts noise back at every step, and so takes `noise` as an argument."""
    return "noise" in signature(_solver(solver)).parameters


def _solver(name: str) -> Callable[..., Tensor]:
    return registry.load("solvers", name)


def evaluations(solver: str, steps: int) -> int:
    """Return how often `solver` calls the denoiser on a grid of `steps` steps that ends at 0."""
    return 2 * steps - 1 if _solver(solver) is heun else steps


def steps_for(solver: str, evaluations: int) -> int:
    """Return the most steps, at least one, that `evaluations` calls of the denoiser pay for."""
    return max(1, (evaluations + 1) // 2 if _solver(solver) is heun else evaluations)


def starting_noise(
    seeds: Sequence[int],
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return standard noise (B, *shape), each row a function of its own seed and nothing else."""
    noise = randomness.normal(0, "sample start", seeds, shape)
    return torch.from_numpy(noise).to(device=device, dtype=dtype)


def step_noise(
    seeds: Sequence[int],
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> StepNoise:
    """Return step → standard noise (B, *shape), each row a function of its seed and the step."""

    def at(step: int) -> Tensor:
        noise = randomness.normal(0, "sample step", seeds, shape, view=step)
        return torch.from_numpy(noise).to(device=device, dtype=dtype)

    return at


def sample(
    denoiser: Denoiser,
    seeds: Sequence[int],
    shape: tuple[int, ...],
    solver: str = "dpmpp-2m",
    steps: int = 25,
    batch: int = 64,
    condition: Tensor | None = None,
    spacing: Spacing = "uniform-t",
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Draw one image of `shape` for each seed; return (len(seeds), *shape).

    How the seeds are cut into batches changes no bit of an image's noise and of the solver's
    arithmetic; a network's matrix products may round differently for another batch size.
    `condition` is (len(seeds), ...); `progress` is told how many images are done. It runs where the
    denoiser's weights are, in their dtype; gradients are the caller's affair. Raises UserError for
    an unknown solver, and for fewer than one step.
    """
    run, times = _solver(solver), time_grid(denoiser.schedule, steps, spacing)
    tensors = chain(denoiser.parameters(), denoiser.buffers())
    weights = next(tensor for tensor in tensors if tensor.is_floating_point())
    place = {"dtype": weights.dtype, "device": weights.device}
    images = []
    for start in range(0, len(seeds), batch):
        part = slice(start, start + batch)
        x = starting_noise(seeds[part], shape, **place)
        extra = {"noise": step_noise(seeds[part], shape, **place)} if takes_noise(solver) else {}
        asked = None if condition is None else condition[part]
        x = run(denoiser, x, times, condition=asked, **extra)
        images.append(x)
        if progress:
            progress(min(start + batch, len(seeds)))
    return torch.cat(images)
