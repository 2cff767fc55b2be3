"""Features of a diffusion model: where they are taken, and how they become one vector an image.

An image x₀ is noised freshly to x_t = α x₀ + σ ε at a stated log-SNR, passed through the network,
and the tokens of a named layer are averaged over the cells of a g × g grid: (N, g²·D). Several
draws of ε are averaged. The noise of an image depends on the image, the draw and the view alone,
so that batching changes nothing and every method meets the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kurabe.adaptations import Adaptation
from kurabe.diffusion import Denoiser
from kurabe.evaluation.distances import blocks
from kurabe.randomness import normal

# Views of one image have noise of their own; there are never this many draws.
_DRAWS = 1 << 16


class Model(Protocol):
    """What is measured: `kurabe.training.Model`, or anything that can do the same."""

    denoiser: Denoiser
    adaptation: Adaptation

    @property
    def feature_layers(self) -> tuple[str, ...]:
        """Names of the layers, from input to output."""
        ...

    @property
    def token_grid(self) -> tuple[int, int]:
        """Rows and columns that the tokens lie on."""
        ...

    @property
    def trainable_count(self) -> int:
        """Parameters that the method changes."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        ...

    def features(self, x_t: Tensor, t: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Tokens (B, N, D) of the named layers, for x_t (B, C, H, W) at t (B,)."""
        ...

    def sample(
        self,
        seeds: Sequence[int],
        evaluations: int | None = None,
        solver: str | None = None,
        batch: int = 64,
    ) -> np.ndarray:
        """One uint8 image (H, W, C) for each seed, (N, H, W, C)."""
        ...

    def state_digest(self) -> str:
        """A digest over all weights."""
        ...


@dataclass(frozen=True)
class Place:
    """Where features are taken: layer, log-SNR of the noised image, g of the g × g grid."""

    layer: str
    log_snr: float
    grid: int


@dataclass(frozen=True)
class Pictures:
    """Images to take features of: uint8 (N, H, W, C), their places in the data set, which view.

    view 0 is the image itself.
    """

    pixels: np.ndarray
    positions: np.ndarray
    view: int = 0

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True)
class Features:
    """vectors: float32 (N, dim), averaged over draws. noise_share: variance over draws of one
    image's vector over the variance of all; None from one draw."""

    vectors: np.ndarray
    noise_share: float | None


Cells = dict[tuple[str, int], Features]


def time_of(model: Model, log_snr: float) -> float:
    """The t at which the model's schedule has that log-SNR."""
    return float(
        model.denoiser.schedule.time_of_log_snr(torch.tensor(log_snr, dtype=torch.float64))
    )


def usable_grids(model: Model, grids: Sequence[int]) -> tuple[int, ...]:
    """The grids that are not finer than the model's tokens."""
    return tuple(g for g in grids if g <= min(model.token_grid))


@torch.inference_mode()
def extract(
    model: Model,
    pictures: Pictures,
    log_snr: float,
    layers: Sequence[str],
    grids: Sequence[int],
    draws: int = 1,
    batch: int = 64,
) -> Cells:
    """Features at one log-SNR for all layers and grids asked for, by (layer, grid)."""
    t_value = time_of(model, log_snr)
    sums: dict[tuple[str, int], np.ndarray] = {}
    within: dict[tuple[str, int], float] = {}
    for rows in blocks(len(pictures), batch):
        x0 = as_images(pictures.pixels[rows]).to(model.device)
        t = torch.full((len(x0),), t_value, device=x0.device)
        pooled: dict[tuple[str, int], list[Tensor]] = {}
        for draw in range(draws):
            view = pictures.view * _DRAWS + draw
            noise = normal(0, "feature noise", pictures.positions[rows], tuple(x0.shape[1:]), view)
            x_t = model.denoiser.noisy(x0, torch.from_numpy(noise).to(x0), t)
            for layer, tokens in model.features(x_t, t, layers).items():
                for grid in grids:
                    cell = pool(tokens, model.token_grid, grid)
                    pooled.setdefault((layer, grid), []).append(cell)
        for key, drawn in pooled.items():
            stack = torch.stack(drawn).float()
            if key not in sums:
                sums[key] = np.empty((len(pictures), stack.shape[2]), np.float32)
            sums[key][rows] = stack.mean(0).cpu().numpy()
            if draws > 1:
                within[key] = within.get(key, 0.0) + float(stack.var(0).sum())
    return {key: Features(v, _noise_share(v, within.get(key), draws)) for key, v in sums.items()}


def _noise_share(vectors: np.ndarray, within: float | None, draws: int) -> float | None:
    if within is None or len(vectors) < 2:
        return None
    within /= len(vectors)
    # The mean over draws still holds 1/draws of the variance within an image.
    total = float(vectors.var(0, ddof=1, dtype=np.float64).sum()) + within * (1 - 1 / draws)
    return within / total if total > 0 else None


def pool(tokens: Tensor, token_grid: tuple[int, int], grid: int) -> Tensor:
    """Average tokens (B, N, D) over the cells of a grid × grid partition: (B, grid² · D)."""
    if grid == 1:
        return tokens.mean(1)
    image = tokens.transpose(1, 2).unflatten(2, token_grid)
    return F.adaptive_avg_pool2d(image, grid).flatten(2).transpose(1, 2).flatten(1)


def as_images(pixels: np.ndarray) -> Tensor:
    """uint8 (N, H, W, C) → float32 (N, C, H, W) in [−1, 1]."""
    x = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    return x.float() * (2 / 255) - 1
