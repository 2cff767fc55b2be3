"""Sampling: starting noise by seed, times to pass through, and a solver along them.

Nothing mixes the samples of a batch: an image is a function of its own seed.
"""

import math
from collections.abc import Callable, Sequence
from inspect import signature
from itertools import chain
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from kurabe import randomness, registry
from kurabe.diffusion.denoiser import Denoiser
from kurabe.diffusion.schedule import Schedule
from kurabe.diffusion.solvers import StepNoise, heun
from kurabe.errors import UserError

Spacing: TypeAlias = Literal["uniform-t", "uniform-log-snr", "karras", "own"]

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
