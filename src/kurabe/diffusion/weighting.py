"""Loss weightings: how much the squared error of x̂₀ counts, as a function of the log-SNR λ.

All are defined on the x₀-error, whatever the network predicts, so that one name means one loss.
With SNR = α²/σ² = e^λ, the plain mean squared error in a prediction's own space is

    x0    1                   ‖x̂₀ − x₀‖²
    eps   SNR                 ‖ε̂ − ε‖²   Ho et al. 2020, "simple"
    v     1 + SNR             ‖v̂ − v‖²   Salimans & Ho 2022, on the circle α² + σ² = 1
    flow  (1 + √SNR)²         ‖û − u‖²   u = ε − x₀, Liu et al. 2023

and two that even out the noise levels: `min_snr` and `p2`.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Weighting: TypeAlias = Callable[[Tensor], Tensor]


def x0(log_snr: Tensor) -> Tensor:
    """1: every noise level counts by its error in the image."""
    return torch.ones_like(log_snr)


def eps(log_snr: Tensor) -> Tensor:
    """SNR: the plain error in ε."""
    return log_snr.exp()


def v(log_snr: Tensor) -> Tensor:
    """1 + SNR: the plain error in v on a variance-preserving schedule."""
    return 1 + log_snr.exp()


def flow(log_snr: Tensor) -> Tensor:
    """(1 + √SNR)²: the plain error in u = ε − x₀, on any schedule."""
    return (1 + (log_snr / 2).exp()).square()


def min_snr(log_snr: Tensor, gamma: float = 5.0) -> Tensor:
    """min(SNR, γ): Hang et al. 2023, with its γ = 5."""
    return log_snr.exp().clamp(max=gamma)


def p2(log_snr: Tensor, k: float = 1.0, gamma: float = 1.0) -> Tensor:
    """SNR / (k + SNR)^γ: Choi et al. 2022, with its k = γ = 1; there on the ε-error."""
    snr = log_snr.exp()
    return snr / (k + snr) ** gamma


WEIGHTINGS: dict[str, Weighting] = {
    "x0": x0,
    "eps": eps,
    "v": v,
    "flow": flow,
    "min-snr": min_snr,
    "p2": p2,
}
