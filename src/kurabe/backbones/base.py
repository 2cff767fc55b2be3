"""What a backbone is: a network that predicts from (x_t, t, condition) and names its layers.

A backbone knows nothing of schedules: `kurabe.diffusion.NetworkDenoiser` gives its prediction a
meaning. One that works on tokens can run its first blocks on a subset of them.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kurabe.diffusion.patch_mixture import ClosedForm
from kurabe.sizes import Sides, times


class Output(NamedTuple):
    """What one pass gives.

    prediction: (B, C, H, W), in the parametrisation that the denoiser states.
    features: layer name → tokens (B, N, D); N is the kept tokens' number where tokens were
        dropped before that layer.
    """

    prediction: Tensor
    features: dict[str, Tensor]


class Backbone(nn.Module):
    """A network x_t (B, C, H, W), t (B,) in [0, 1] → `Output`.

    Attributes
    ----------
    in_channels, image_size: the images it works on, (in_channels, height, width).
    token_grid: rows and columns of tokens (or cells) that its features lie on; the finest of
        them where layers differ, as `grid_of` says.
    patch: side in pixels of the square that one token stands for; 0 where none can be left out.
    feature_layers: names of the layers that `forward` can return, from input to output.
    feature_dim: width D of the features; that of the finest layer where layers differ, as
        `dim_of` says.
    num_classes: 0 where the network is told no classes; the class that says nothing has that
        index.
    early_layer: the feature layer with a second head (`take_early_head`), None where there is none.
    fresh: names of the parameters that `take_…` made; they train whatever else does.
    fitted: names of the buffers that were fitted to a run's own images, and are stored with it.
    times_by_token: whether t may be (B, rows, columns), a time for each token of `token_grid`.
    preconditioner: the denoiser in closed form to which it adds the rest; None for none. Where
        it has one, it is given that one's x̂₀ behind the channels of x_t, (B, 2C, H, W), and that
        one's prediction is added to its own (`kurabe.diffusion.NetworkDenoiser` does both).
    roles: by what they do, patterns that names of linear layers are searched for: "all-linear"
        (those inside blocks), "attention". An adaptation's targets may name one.
    """

    in_channels: int
    image_size: Sides
    token_grid: tuple[int, int]
    patch: int
    feature_layers: tuple[str, ...]
    feature_dim: int
    num_classes: int = 0
    early_layer: str | None = None
    fresh: frozenset[str] = frozenset()
    fitted: frozenset[str] = frozenset()
    times_by_token: bool = False
    preconditioner: ClosedForm | None
    roles: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.register_module("preconditioner", None)

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        keep: Tensor | None = None,
        layers: Sequence[str] = (),
    ) -> Output:
        """Predict; condition (B,) class indices; keep (B, K) indices of the tokens to keep."""
        raise NotImplementedError

    def features(
        self, x_t: Tensor, t: Tensor, condition: Tensor | None = None, layers: Sequence[str] = ()
    ) -> dict[str, Tensor]:
        """The features that `forward` gives; a backbone that can stops behind the last of them."""
        return self(x_t, t, condition=condition, layers=layers).features

    def take_classes(self, count: int) -> None:
        """From now on condition (B,) names one of `count` classes, or with `count` none of them.

        Each class's vector starts as what the network had for none, so that it predicts what it
        did. ValueError where a network cannot be told classes.
        """
        raise ValueError(f"a {type(self).__name__} cannot be told classes")

    def take_early_head(self, layer: str) -> None:
        """From now on a second head predicts from that layer, at first zero.

        One that is there stays. ValueError where a network cannot have one.
        """
        raise ValueError(f"a {type(self).__name__} cannot have a head on an early layer")

    def early_prediction(
        self,
        tokens: Tensor,
        t: Tensor,
        condition: Tensor | None,
        grid: tuple[int, int] | None = None,
    ) -> Tensor:
        """What the second head predicts from features (B, N, D) of its layer: (B, C, H, W).

        grid: rows and columns that they lie on; `token_grid` where none is given.
        """
        raise NotImplementedError

    def enable_gradient_checkpointing(self) -> None:
        """From now on a pass keeps what enters each block, and computes the rest anew on the way
        back (Chen et al. 2016, "Training deep nets with sublinear memory cost").

        Predictions and gradients stay what they are. ValueError where a network cannot do so.
        """
        raise ValueError(f"a {type(self).__name__} cannot compute its blocks anew")

    def take_sizes(self, sizes: Sequence[Sides], trained: bool) -> None:
        """From now on images of these sizes in pixels pass as well, each batch of one of them.

        trained: whether its weights were trained before, so that places that they have not met
        mean nothing to it. ValueError, which says why, where it cannot.
        """
        raise ValueError(f"it knows the places of {times(self.image_size)} alone")

    def resize(self, image_size: Sides) -> None:
        """From now on it works on images of that height and width, with the same weights.

        ValueError, which says what it draws instead, where it cannot.
        """
        raise ValueError(
            f"it knows the places of {times(self.image_size)} alone, and {times(image_size)} asks "
            "for others"
        )

    def dim_of(self, layer: str) -> int:
        """The width D of that layer's features."""
        return self.feature_dim

    def grid_of(self, layer: str) -> tuple[int, int]:
        """Rows and columns that the tokens of that layer lie on."""
        return self.token_grid

    def patchify(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) of any size and channels → patches (B, N, C·p·p), row by row."""
        b, c, p = *images.shape[:2], self.patch
        h, w = (side // p for side in images.shape[2:])
        return (
            images.reshape(b, c, h, p, w, p).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w, c * p * p)
        )

    def unpatchify(self, patches: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """The inverse of `patchify`, for any number of channels.

        grid: rows and columns of patches; `token_grid` where none is given.
        """
        b, (h, w), p = len(patches), grid or self.token_grid, self.patch
        c = patches.shape[-1] // p**2
        return (
            patches.reshape(b, h, w, c, p, p).permute(0, 3, 1, 4, 2, 5).reshape(b, c, h * p, w * p)
        )

    def hide(self, images: Tensor, keep: Tensor, instead: Tensor) -> Tensor:
        """Images (B, C, H, W) with `instead`, which broadcasts, in all patches but keep (B, K)."""
        kept = images.new_zeros(len(images), self.token_grid[0] * self.token_grid[1], 1)
        kept = kept.scatter_(1, keep.unsqueeze(-1), 1).expand(-1, -1, self.patch**2)
        return torch.where(self.unpatchify(kept) > 0, images, instead)


def pool(tokens: Tensor, token_grid: tuple[int, int], grid: int) -> Tensor:
    """Average tokens (B, N, D) over the cells of a grid × grid partition: (B, grid² · D)."""
    if grid == 1:
        return tokens.mean(1)
    image = tokens.transpose(1, 2).unflatten(2, token_grid)
    return F.adaptive_avg_pool2d(image, grid).flatten(2).transpose(1, 2).flatten(1)


def table(none: Tensor, count: int) -> nn.Embedding:
    """Vectors of `count` classes and of none, all of which start as `none` (D,)."""
    return nn.Embedding.from_pretrained(none.repeat(count + 1, 1), freeze=False)
