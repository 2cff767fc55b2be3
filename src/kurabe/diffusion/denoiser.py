"""Denoisers: E[x₀ | x_t], from a network or in closed form, and what a network may predict.

Every prediction is a combination of x₀ and ε, and with x_t = α x₀ + σ ε it determines both:

    name   y             x₀                            ε
    x0     x₀            y                             (x_t − α y) / σ
    eps    ε             (x_t − σ y) / α               y
    v      α ε − σ x₀    (α x_t − σ y) / (α² + σ²)     (σ x_t + α y) / (α² + σ²)
    flow   ε − x₀        (x_t − σ y) / (α + σ)         (x_t + α y) / (α + σ)

An error in y is an error in x₀ times a number of t alone; so a loss that is defined on the x₀-error
is computed on y itself, where nothing is divided by a small number. `flow` is the velocity dx_t/dt
of the straight path, and is defined by ε − x₀ on other schedules too.

Two cells are singular: x₀ from ε at α = 0, and ε from x₀ at σ = 0. There is nothing left to tell
them, so below `MIN_ALPHA` and `MIN_SIGMA` the quotient n/d is replaced by n d / min², which goes to
0, the middle of the range of images and the mean of the noise.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor, nn
from typing_extensions import override

from kurabe.diffusion.schedule import Schedule
from kurabe.diffusion.weighting import WEIGHTINGS

if TYPE_CHECKING:
    from kurabe.backbones.base import Backbone, Output

Prediction: TypeAlias = Literal["eps", "x0", "v", "flow"]
PREDICTIONS: tuple[Prediction, ...] = ("eps", "x0", "v", "flow")

# DDPM's own chain ends at α = 0.0064: every one of its steps is exact.
MIN_ALPHA = 5e-3
# Where float32 still leaves three digits of (x_t − α x₀) / σ.
MIN_SIGMA = 1e-4
# Weights are taken at a finite log-SNR, so that at t = 0 and t = 1 their ratio is its limit.
MAX_LOG_SNR = 40.0


def combine(
    prediction: Prediction, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor
) -> Tensor:
    """Return y, the quantity of this name, from the image and the noise. Shapes broadcast."""
    match prediction:
        case "x0":
            return x0
        case "eps":
            return eps
        case "v":
            return alpha * eps - sigma * x0
        case "flow":
            return eps - x0


def solve(
    prediction: Prediction, y: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor
) -> tuple[Tensor, Tensor]:
    """Return (x₀, ε) from y and x_t: the inverse of `combine`. Shapes broadcast."""
    match prediction:
        case "x0":
            return y, (x_t - alpha * y) * (sigma / sigma.clamp(min=MIN_SIGMA).square())
        case "eps":
            return (x_t - sigma * y) * (alpha / alpha.clamp(min=MIN_ALPHA).square()), y
        case "v":
            norm = alpha.square() + sigma.square()
            return (alpha * x_t - sigma * y) / norm, (sigma * x_t + alpha * y) / norm
        case "flow":
            norm = alpha + sigma
            return (x_t - sigma * y) / norm, (x_t + alpha * y) / norm


def native_weight(prediction: Prediction, t: Tensor, schedule: Schedule) -> Tensor:
    """The weight on the x₀-error that equals the plain error in y: (error in y / error in x₀)².

    With the table above: 1 for x0, SNR for eps, (α² + σ²)²/σ² for v and (α + σ)²/σ² for flow.
    """
    alpha, sigma = schedule(t)
    weight = WEIGHTINGS[prediction](_finite_log_snr(schedule, t))
    return weight * (alpha.square() + sigma.square()) if prediction == "v" else weight


def _finite_log_snr(schedule: Schedule, t: Tensor) -> Tensor:
    return schedule.log_snr(t).clamp(-MAX_LOG_SNR, MAX_LOG_SNR)


class Denoiser(nn.Module, ABC):
    """The posterior mean of a schedule's noisy images.

    `passes` is the number of network passes that one call costs.
    """

    schedule: Schedule
    passes: int = 1

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return E[x₀ | x_t] of x_t (B, ...) at times t (B,) in [0, 1], of x_t's shape."""

    def noisy(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t = α x₀ + σ ε of images and noise (B, ...) at times t.

        t: (B,), or (B, rows, columns) for parts of images (B, C, H, W) with times of their own.
        """
        alpha, sigma = self.coefficients(t, x0)
        return alpha * x0 + sigma * noise

    def coefficients(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return α and σ of t (B,) as (B, 1, ..., 1), in `like`'s dtype, ready to multiply it.

        Those of t (B, rows, columns) are (B, 1, H, W).
        """
        alpha, sigma = self.schedule(t)
        return _per_sample(alpha, like), _per_sample(sigma, like)


def _per_sample(values: Tensor, like: Tensor) -> Tensor:
    if values.dim() == 3:
        rows, columns = (like.shape[k - 2] // values.shape[k - 2] for k in (0, 1))
        places = values.to(like.dtype).repeat_interleave(rows, 1).repeat_interleave(columns, 2)
        return places.unsqueeze(1)
    return values.to(like.dtype).view(-1, *[1] * (like.dim() - 1))


class NetworkDenoiser(Denoiser):
    """A backbone whose output is read as `prediction` on `schedule`; it owns its denoising loss."""

    def __init__(self, backbone: "Backbone", schedule: Schedule, prediction: Prediction) -> None:
        super().__init__()
        self.backbone = backbone
        self.schedule = schedule
        self.prediction: Prediction = prediction

    @override
    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.to_x0(self.predict(x_t, t, condition).prediction, x_t, t)

    def predict(
        self,
        x_t: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        keep: Tensor | None = None,
        layers: tuple[str, ...] = (),
    ) -> "Output":
        """Run the backbone on x_t (B, C, H, W), t (B,); `keep` (B, K) names the tokens it sees.

        t may be (B, rows, columns), a time for each token, where the backbone's times_by_token.
        """
        seen, closed = self._preconditioned(x_t, t, keep)
        out = self.backbone(seen, t, condition=condition, keep=keep, layers=layers)
        return out if closed is None else out._replace(prediction=out.prediction + closed)

    def _preconditioned(
        self, x_t: Tensor, t: Tensor, keep: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """What the backbone sees, and the prediction in closed form to add its own to.

        Where tokens are dropped, the preconditioner sees the mean image in their place.
        """
        of = self.backbone.preconditioner
        if of is None:
            return x_t, None
        alpha, sigma = self.coefficients(t, x_t)
        shown = x_t
        if keep is not None:
            shown = self.backbone.hide(x_t, keep, alpha * of.mean_image())
        x0, eps = of(shown, alpha, sigma)
        return torch.cat([x_t, x0], 1), combine(self.prediction, x0, eps, alpha, sigma)

    def early(
        self,
        tokens: Tensor,
        x_t: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        grid: tuple[int, int] | None = None,
    ) -> Tensor:
        """The prediction of the backbone's second head from features (B, N, D) of its layer.

        grid: rows and columns that they lie on, where it is not the backbone's own.
        """
        found = self.backbone.early_prediction(tokens, t, condition, grid)
        closed = self._preconditioned(x_t, t)[1]
        return found if closed is None else found + closed

    def features(
        self, x_t: Tensor, t: Tensor, condition: Tensor | None = None, layers: tuple[str, ...] = ()
    ) -> dict[str, Tensor]:
        """Features of x_t (B, C, H, W) at t (B,), layer → tokens (B, N, D); no prediction."""
        return self.backbone.features(self._preconditioned(x_t, t)[0], t, condition, layers)

    def to_x0(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the x₀ that a prediction (B, ...) at x_t means."""
        return solve(self.prediction, prediction, x_t, *self.coefficients(t, x_t))[0]

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return what the backbone should predict for x_t = α x₀ + σ ε."""
        return combine(self.prediction, x0, noise, *self.coefficients(t, x0))

    def loss(
        self, prediction: Tensor, x0: Tensor, noise: Tensor, t: Tensor, weighting: str
    ) -> Tensor:
        """Return w(λ) (x̂₀ − x₀)² for each element, of the prediction's shape.

        `x0` and `noise` (B, ...) made x_t at t (B,); `weighting` names w in `WEIGHTINGS`. Computed
        as w(λ)/native(λ) · (ŷ − y)², the same number, which stays exact where x̂₀ would be a
        quotient of small numbers.
        """
        weight = WEIGHTINGS[weighting](_finite_log_snr(self.schedule, t))
        factor = weight / native_weight(self.prediction, t, self.schedule)
        error = prediction - self.target(x0, noise, t)
        return _per_sample(factor, error) * error.square()


class GaussianDenoiser(Denoiser):
    """The exact denoiser of images that are N(μ, Σ), against which samplers are held.

        E[x₀ | x_t] = μ + α Σ (α² Σ + σ² I)⁻¹ (x_t − α μ)

    `mean` has an image's shape (...), `covariance` is (D, D) over its D elements, symmetric and
    positive semidefinite. It holds for every schedule, at both ends too.
    """

    mean: Tensor
    variances: Tensor
    axes: Tensor

    def __init__(self, mean: Tensor, covariance: Tensor, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule
        variances, axes = torch.linalg.eigh(covariance)
        self.register_buffer("mean", mean)
        self.register_buffer("variances", variances.clamp(min=0))
        self.register_buffer("axes", axes)

    @override
    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        alpha, sigma = (value.to(x_t.dtype)[:, None] for value in self.schedule(t))
        centred = x_t.flatten(1) - alpha * self.mean.flatten()
        total = alpha.square() * self.variances + sigma.square()
        gain = alpha * self.variances / total.clamp(min=torch.finfo(total.dtype).tiny)
        return self.mean + ((centred @ self.axes * gain) @ self.axes.T).view_as(x_t)
