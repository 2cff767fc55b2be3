"""Features of a diffusion model: where they are taken, and how they become one vector an image.

An image x₀ is noised freshly to x_t = α x₀ + σ ε at a stated log-SNR, passed through the network,
and the tokens of a named layer are averaged over the cells of a g × g grid: (N, g²·D). Several
draws of ε are averaged. The noise of an image depends on the image, the draw and the view alone,
so that batching changes nothing and every method meets the same.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from kurabe.adaptations import Adaptation
from kurabe.backbones.base import pool
from kurabe.diffusion import Denoiser
from kurabe.evaluation.vectors import blocks
from kurabe.randomness import normal
from kurabe.spaces import Space
from kurabe.training.devices import at_once

# Views of one image have noise of their own; there are never this many draws.
_DRAWS = 1 << 16


class Model(Protocol):
    """What is measured: `kurabe.training.Model`, or anything that can do the same."""

    @property
    def denoiser(self) -> Denoiser:
        """What is measured."""
        ...

    @property
    def adaptation(self) -> Adaptation:
        """What changed it."""
        ...

    @property
    def solver(self) -> str:
        """The solver that the method chooses."""
        ...

    @property
    def spacing(self) -> str:
        """How the method spaces the times of sampling."""
        ...

    @property
    def dtype(self) -> str:
        """What its products are computed in while it samples."""
        ...

    @property
    def feature_layers(self) -> tuple[str, ...]:
        """Names of the layers, from input to output."""
        ...

    @property
    def space(self) -> Space:
        """What it sees of an image."""
        ...

    def grid_of(self, layer: str) -> tuple[int, int]:
        """Rows and columns that the tokens of a layer lie on."""
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


def identity_of(model: Model) -> str:
    """Sixteen hex digits over all that a model's images, features and losses follow from.

    Besides the weights: the network's shape (heads are in no weight), α and σ of its schedule at
    33 times, what its output means, its solver, spacing and arithmetic.
    """
    times = torch.linspace(0, 1, 33)
    alpha, sigma = model.denoiser.schedule(times)
    network = getattr(model, "network", None)
    parts = (
        model.state_digest(),
        None if network is None else network.model_dump(mode="json"),
        type(model.denoiser).__name__,
        getattr(model.denoiser, "prediction", None),
        [f"{value:.6g}" for value in torch.cat([alpha, sigma]).tolist()],
        (model.solver, model.spacing, model.dtype),
    )
    if model.space.cached:
        parts += (model.space.identity,)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


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


Cells = dict[tuple[str, int], np.ndarray]


def time_of(model: Model, log_snr: float) -> float:
    """The t at which the model's schedule has that log-SNR."""
    return float(
        model.denoiser.schedule.time_of_log_snr(torch.tensor(log_snr, dtype=torch.float64))
    )


def usable_grids(model: Model, grids: Sequence[int]) -> tuple[int, ...]:
    """The grids that are not finer than the model's tokens, in any layer."""
    coarsest = min(min(model.grid_of(layer)) for layer in model.feature_layers)
    return tuple(g for g in grids if g <= coarsest)


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
    cells: Cells = {}
    for rows in blocks(len(pictures), at_once(batch, model.device)):
        x0 = model.space.encode(pictures.pixels[rows], model.device)
        t = torch.full((len(x0),), t_value, device=x0.device)
        pooled: dict[tuple[str, int], Tensor | float] = {}
        for draw in range(draws):
            view = pictures.view * _DRAWS + draw
            noise = normal(
                0, "feature noise", pictures.positions[rows].tolist(), tuple(x0.shape[1:]), view
            )
            x_t = model.denoiser.noisy(x0, torch.from_numpy(noise).to(x0), t)
            for layer, tokens in model.features(x_t, t, layers).items():
                for grid in grids:
                    vectors = pool(tokens, model.grid_of(layer), grid).float() / draws
                    pooled[layer, grid] = pooled.get((layer, grid), 0.0) + vectors
        for key, vectors in pooled.items():
            assert isinstance(vectors, Tensor)
            if key not in cells:
                cells[key] = np.empty((len(pictures), vectors.shape[1]), np.float32)
            cells[key][rows] = vectors.cpu().numpy()
    return cells


def noise_share(
    model: Model, pictures: Pictures, place: Place, draws: int = 2, batch: int = 64
) -> float | None:
    """Variance over draws of noise within an image, over the variance of all features: 0 to 1.

    None where no feature varies.
    """
    stack = np.stack([
        extract(
            model,
            # Views far from any other, each with one draw of its own.
            Pictures(pictures.pixels, pictures.positions, _DRAWS + draw),
            place.log_snr,
            (place.layer,),
            (place.grid,),
            batch=batch,
        )[place.layer, place.grid]
        for draw in range(draws)
    ]).astype(np.float64)  # fmt: skip
    within = float(stack.var(0, ddof=1).sum(1).mean())
    total = float(stack.var(1, ddof=1).sum(1).mean())
    return within / total if total > 0 else None
