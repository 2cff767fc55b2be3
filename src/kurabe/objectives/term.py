"""What a term of an objective declares, and what it is given.

A term names the streams of images it needs: which images, how many of an update's, as how many
views, noised at which times, with which share of the tokens, and which feature layers of the pass
it reads. The objective joins the needs of all terms, the loop meets them once, the network passes
each stream once, and a term computes one loss per image from the passes. A term never fetches.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_with_gradients
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from kurabe.backbones.base import Backbone
from kurabe.diffusion import NetworkDenoiser
from kurabe.errors import UserError

Losses = Mapping[str, Tensor]
Shares = NDArray[np.floating]
Law = Callable[[Shares], Shares]
"""A law of t on [0, 1] by its quantiles: shares that lie evenly in [0, 1) → times."""


def uniform(shares: Shares) -> Shares:
    """All times alike."""
    return shares


def rising(shares: Shares) -> Shares:
    """Times of density 2t."""
    return np.sqrt(shares)


def falling(shares: Shares) -> Shares:
    """Times of density 2(1 − t)."""
    return 1 - np.sqrt(1 - shares)


LAWS: dict[str, Law] = {"uniform": uniform, "rising": rising, "falling": falling}


@dataclass(frozen=True)
class Drawn:
    """Images that the untouched base draws before training, in place of the training images.

    count: how many, and evaluations: network passes for each. most: the share of a run's budget
    that drawing may take, in (0, 1); what does not fit is not drawn, but for one image. prompt:
    what a base that reads is asked to draw, and what these images are said to show; None for what
    it is asked anyway.
    """

    count: int
    evaluations: int = 20
    most: float = 0.2
    prompt: str | None = None


@dataclass(frozen=True)
class Stream:
    """A stream of noised images that the network passes once for all terms.

    name: streams of one name are one stream; what the terms ask of it is joined.
    source: which images; None for the training images.
    share: part of an update's network images; None takes what other streams leave.
    views, policy: how many views of each image, made by which policy of `kurabe.data.views`.
    earliest, latest: times t lie in [earliest, latest], independent for each view.
    law: how they are spread over that range, of which a time is a share.
    levels: how many times a view has, of which each token has one, as chance will have it; 1 for
        one time for all tokens. Of the network it asks `times_by_token`.
    apart: whether tokens with less noise and those with more pass as if the others were not there;
        of the network it asks `keeps_apart`.
    gap: each view has a second time as well, before t by a uniform share of this much, for terms
        that look at one image at two noise levels; 0 for none.
    keep: share of the tokens that pass the blocks before the decoder.
    layers: feature layers that terms read.
    pixels: whether a term reads the images as they are seen, beside what the network gets.
    predicts: whether a term reads the prediction; where none does, what lies behind the last of
        the layers is not computed.
    together: images that must stay in one micro-batch, since a term compares them with one
        another; processes share a micro-batch, and the term gathers it.
    """

    name: str
    source: Drawn | None = None
    share: float | None = None
    views: int = 1
    policy: str = "none"
    earliest: float = 0.0
    latest: float = 1.0
    law: Law = uniform
    levels: int = 1
    apart: bool = False
    gap: float = 0.0
    keep: float = 1.0
    layers: tuple[str, ...] = ()
    pixels: bool = False
    predicts: bool = True
    together: int = 1

    def join(self, other: "Stream") -> "Stream":
        """The stream that serves both; ValueError where they contradict one another.

        A term that asks for plain images takes the views that another asks for, and one that
        asks for all times alike another's law.
        """
        one, two = self._giving_way_to(other), other._giving_way_to(self)
        both: dict[str, Any] = {
            "levels": max(self.levels, other.levels),
            "apart": self.apart or other.apart,
            "gap": max(self.gap, other.gap),
            "keep": min(self.keep, other.keep),
            "layers": tuple(dict.fromkeys(self.layers + other.layers)),
            "pixels": self.pixels or other.pixels,
            "predicts": self.predicts or other.predicts,
            "together": max(self.together, other.together),
        }
        joined = replace(one, **both)
        if joined != replace(two, **both):
            raise ValueError(f"two terms ask for different streams named '{self.name}'")
        return joined

    def _giving_way_to(self, other: "Stream") -> "Stream":
        law = other.law if self.law is uniform else self.law
        plain = (self.views, self.policy) == (1, "none")
        views, policy = (other if plain else self).views, (other if plain else self).policy
        share = other.share if self.share is None else self.share
        return replace(self, law=law, views=views, policy=policy, share=share)


@dataclass(frozen=True)
class Batch:
    """One stream's part of a micro-batch; a view counts as an image of its own.

    images x₀ (B, C, H, W) in [−1, 1]; noise ε like images; t (B,), or (B, rows, columns) where
    tokens have times of their own; keep (B, K) token indices or None; condition (B,) class
    indices, (B, L, D) a text encoder's states, or None; gap (B,) from t back to the second time,
    or None; pixels uint8 (B, H, W, C), or None. The views of one image stand side by side.
    """

    images: Tensor
    noise: Tensor
    t: Tensor
    keep: Tensor | None = None
    condition: Tensor | None = None
    gap: Tensor | None = None
    pixels: Tensor | None = None

    @property
    def earlier(self) -> Tensor:
        """The second time of each image, or of each token, with less noise, shaped like t."""
        assert self.gap is not None
        return (self.t - self.gap.view(-1, *[1] * (self.t.dim() - 1))).clamp(min=0)

    def rows(self, which: Tensor) -> "Batch":
        """These rows alone; which: (K,) indices."""
        all_rows = {of.name: getattr(self, of.name) for of in fields(self)}
        return replace(self, **{k: v[which] for k, v in all_rows.items() if v is not None})


@dataclass(frozen=True)
class Pass:
    """A batch and what the network made of it: prediction (B, C, H, W), features by layer.

    prediction: None where the stream's terms do not read one. references: the frozen networks
    that terms asked for.
    """

    batch: Batch
    x_t: Tensor
    prediction: Tensor | None
    features: Mapping[str, Tensor]
    denoiser: NetworkDenoiser
    references: Mapping[str, NetworkDenoiser] = field(default_factory=dict)

    def grid_of(self, layer: str) -> tuple[int, int]:
        """Rows and columns that a layer's features of these images lie on."""
        backbone = self.denoiser.backbone
        rows, columns = backbone.grid_of(layer)
        own, (height, width) = backbone.image_size, self.x_t.shape[2:]
        return rows * height // own[0], columns * width // own[1]


class Term(nn.Module):
    """One summand of an objective. Heads that a term trains are its own parameters.

    references: names of the frozen networks that it reads, of those that training has: "base",
    the network before the first update, and "teacher", the moving average of its weights.
    denoises: whether it is the one that teaches to denoise.
    """

    weight: float = 1.0
    references: tuple[str, ...] = ()
    # Shares of the budget at which what it needs may change.
    turns: tuple[float, ...] = ()
    denoises: bool = False

    def streams(self, progress: float) -> tuple[Stream, ...]:
        """What the term needs at this share of the budget, in [0, 1]; () where it is off."""
        raise NotImplementedError

    def weight_at(self, progress: float) -> float:
        """Its part in the sum at this share of the budget."""
        return self.weight

    def forward(self, passes: Mapping[str, Pass]) -> Tensor:
        """One loss per image of its main stream, (B,)."""
        raise NotImplementedError


class StreamTerm(Term):
    """A term without parameters of its own: a function of one stream's pass, always on.

    losses: pass → one loss per image of the stream, (B,).
    """

    def __init__(self, weight: float, stream: Stream, losses: Callable[[Pass], Tensor]) -> None:
        super().__init__()
        self.weight, self.stream, self.losses = weight, stream, losses

    def streams(self, progress: float) -> tuple[Stream, ...]:
        return (self.stream,)

    def forward(self, passes: Mapping[str, Pass]) -> Tensor:
        return self.losses(passes[self.stream.name])


class ScheduledTerm(Term):
    """A term that is on for a part of the run, or whose weight is spent in the course of it.

    factor: what its weight is multiplied with at a share of the budget; off where that is 0.
    turns: between which shares of the budget it is on.
    """

    def __init__(
        self, term: Term, factor: Callable[[float], float], turns: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.term, self.factor = term, factor
        self.weight, self.references = term.weight, term.references
        self.turns = term.turns + turns

    def streams(self, progress: float) -> tuple[Stream, ...]:
        return self.term.streams(progress) if self.factor(progress) > 0 else ()

    def weight_at(self, progress: float) -> float:
        return self.factor(progress) * self.term.weight_at(progress)

    def forward(self, passes: Mapping[str, Pass]) -> Tensor:
        return self.term(passes)


def on_grid(tokens: Tensor, grid: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
    """Tokens (B, N, D) on a grid of rows and columns, bilinear on another one: (B, N', D)."""
    if grid == wanted:
        return tokens
    image = tokens.float().transpose(1, 2).unflatten(2, grid)
    return F.interpolate(image, wanted, mode="bilinear", antialias=True).flatten(2).transpose(1, 2)


def layer_at(backbone: Backbone, depth: float) -> str:
    """The feature layer at that share of the depth, in (0, 1]: 0.5 is the middle one."""
    names = backbone.feature_layers
    return names[max(1, round(depth * len(names))) - 1]


def with_early_head(backbone: Backbone, depth: float) -> str:
    """The layer of the network's second head, which it gets at that depth where it has none.

    UserError where it cannot have one.
    """
    try:
        backbone.take_early_head(layer_at(backbone, depth))
    except ValueError as error:
        raise UserError(f"This method predicts from an early layer too, and {error}.") from None
    assert backbone.early_layer is not None
    return backbone.early_layer


def gathered(own: Tensor) -> Tensor:
    """Rows (B, D) of all processes in the order of their ranks, (processes · B, D).

    The backward pass sums, for each process's rows, the gradients from the losses of all.
    """
    if not _several():
        return own
    # torch.distributed's all_gather of plain tensors would cut the graph.
    return torch.cat(dist_with_gradients.all_gather(own))


def own_part(losses: Tensor) -> Tensor:
    """Of values for the rows of all processes, those for this one's."""
    return losses.chunk(dist.get_world_size())[dist.get_rank()] if _several() else losses


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
