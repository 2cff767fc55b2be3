"""The transform-alignment term: an early layer follows a fixed transform of the clean image.

Attached as Singh et al. (2025), "What matters for representation alignment: Global information or
spatial structure?" (iREPA), attach an encoder: with y the transform at each of N places, ŷ its
z-score over the places of one image, channel by channel, z the layer's tokens on their grid, and h
one 3×3 convolution that is thrown away, 1 − (1/N) Σ_n cos(ŷ_n, h_n(z)). Gradient histograms as a
target are those of Wei et al. (2022), "Masked feature prediction for self-supervised visual
pre-training", without hiding anything; that the term ends for good at a stated share of the run is
from Wang et al. (2025), "REPA works until it doesn't" (HASTE).
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kurabe.diffusion import NetworkDenoiser
from kurabe.errors import UserError
from kurabe.objectives.term import Pass, Stream, Term, layer_at
from kurabe.objectives.transform_alignment import TransformAlignment
from kurabe.objectives.transform_alignment.transforms import TRANSFORMS

# Added to a channel's deviation over places, so that one that is the same everywhere says nothing.
EPSILON = 1e-6


class TransformAlignmentTerm(Term):
    """1 − cosine on the images that are denoised.

    What is transformed is the clean image as the network sees it: pixels, or latents. UserError
    where a layer's places are not whole squares of it.
    """

    def __init__(self, choice: TransformAlignment, denoiser: NetworkDenoiser) -> None:
        super().__init__()
        backbone = denoiser.backbone
        self.weight, self.layer = choice.weight, layer_at(backbone, choice.depth)
        self.stream = Stream("images", layers=(self.layer,))
        self.transform = TRANSFORMS[choice.transform]
        image = torch.zeros(1, backbone.in_channels, *backbone.image_size)
        try:
            width = self.transform(image, backbone.grid_of(self.layer)).shape[-1]
        except ValueError as error:
            raise UserError(
                f"The transform-alignment term cannot follow {self.layer}: {error}; move its depth "
                "or take images of another size."
            ) from None
        self.head = nn.Conv2d(backbone.dim_of(self.layer), width, 3, padding=1)

    def streams(self, progress: float) -> tuple[Stream, ...]:
        return (self.stream,)

    def forward(self, passes: Mapping[str, Pass]) -> Tensor:
        images = passes["images"]
        grid = images.grid_of(self.layer)
        target = standardised(self.transform(images.batch.images, grid))
        tokens = images.features[self.layer].transpose(1, 2).unflatten(2, grid)
        followed = self.head(tokens).flatten(2).transpose(1, 2).float()
        return 1 - F.cosine_similarity(target, followed, dim=-1).mean(1)


def standardised(y: Tensor) -> Tensor:
    """Channels of (B, N, D) with mean 0 and variance 1 over the N places of each image."""
    return (y - y.mean(1, keepdim=True)) / (y.std(1, correction=0, keepdim=True) + EPSILON)
