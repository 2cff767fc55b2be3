"""What the diffusion tests are held against: an exact Gaussian, its exact path, a small network."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from kurabe import registry
from kurabe.diffusion import GaussianDenoiser, NetworkDenoiser, Prediction, Schedule
from kurabe.diffusion.denoiser import combine

SOLVERS = {name: registry.load("solvers", name) for name in registry.ideas("solvers")}


def gaussian(schedule: Schedule, variances: list[float], mean: float = 0.3) -> GaussianDenoiser:
    """N(μ, Q diag(variances) Qᵀ) in float64, Q a fixed rotation that mixes all elements."""
    size = len(variances)
    noise = torch.randn(size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    axes = torch.linalg.qr(noise).Q
    covariance = axes @ torch.diag(torch.tensor(variances, dtype=torch.float64)) @ axes.T
    return GaussianDenoiser(mean * torch.linspace(-1, 1, size).double(), covariance, schedule)


def at(schedule: Schedule, t: float) -> tuple[float, float]:
    alpha, sigma = schedule(torch.tensor(t, dtype=torch.float64))
    return alpha.item(), sigma.item()


def exact_path(denoiser: GaussianDenoiser, x: Tensor, start: float, end: float) -> Tensor:
    """Where the deterministic path takes x (B, D): each axis keeps its quantile.

    On an axis of variance λ, x_t has the standard deviation √(α²λ + σ²) about α μ, and the
    probability flow of a Gaussian moves every point with it.
    """
    (a, s), (b, r) = at(denoiser.schedule, start), at(denoiser.schedule, end)
    widths = (b**2 * denoiser.variances + r**2) / (a**2 * denoiser.variances + s**2)
    along = (x - a * denoiser.mean) @ denoiser.axes * widths.sqrt()
    return b * denoiser.mean + along @ denoiser.axes.T


class Output(NamedTuple):
    prediction: Tensor
    features: dict[str, Tensor]


class Pointwise(nn.Module):
    """A nonlinear network that treats every element alone: its posterior mean is tanh(g x + t)."""

    def __init__(self, schedule: Schedule, prediction: Prediction) -> None:
        super().__init__()
        self.gain, self.preconditioner = nn.Parameter(torch.tensor(1.3)), None
        self.schedule, self.prediction = schedule, prediction
        self.calls = 0

    def forward(self, x_t, t, condition=None, keep=None, layers=()) -> Output:
        self.calls += 1
        alpha, sigma = (c.view(-1, *[1] * (x_t.dim() - 1)) for c in self.schedule(t))
        x0 = torch.tanh(self.gain * x_t + t.view(alpha.shape))
        eps = (x_t - alpha * x0) / sigma
        return Output(combine(self.prediction, x0, eps, alpha, sigma), {})


def pointwise(schedule: Schedule, prediction: Prediction) -> NetworkDenoiser:
    return NetworkDenoiser(Pointwise(schedule, prediction), schedule, prediction)
