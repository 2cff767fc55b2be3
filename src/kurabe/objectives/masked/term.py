"""The masked term: what the hidden tokens looked like, predicted from the visible ones.

Only the visible tokens pass the blocks before the decoder, which is where time is saved. What a
linear head of the term predicts from the last block is one of two things:

- Zheng et al. (2024), "Fast training of diffusion models with masked transformers" (MaskDiT),
  eq. 5: the patches of the noised input, each normalised to mean 0 and variance 1 as in MAE (He
  et al. 2022). MaskDiT reads them from the network's own output; a head of its own does not ask
  one output for two different things.
- Wei et al. (2022), "Masked feature prediction for self-supervised visual pre-training"
  (MaskFeat): histograms of oriented gradients, in two by two cells for each patch. Here they
  are those of the clean image, seen through noise, so that no noise has to be predicted.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from kurabe.backbones.base import Backbone
from kurabe.diffusion import NetworkDenoiser
from kurabe.errors import UserError
from kurabe.objectives.masked import Masked
from kurabe.objectives.masked.histograms import ORIENTATIONS, oriented_gradients
from kurabe.objectives.term import Pass, Stream, Term


class MaskedTerm(Term):
    """Error of the predicted targets in the stream "images"; off for the last stretch."""

    def __init__(self, choice: Masked, denoiser: NetworkDenoiser) -> None:
        super().__init__()
        backbone = denoiser.backbone
        if not backbone.patch:
            raise UserError(
                "Masked prediction leaves tokens out, which this network cannot; take a method "
                "without the masked term, or a network of Kurabe's own."
            )
        self.weight, self.on_until = choice.weight, 1 - choice.unmask_share
        self.layer = backbone.feature_layers[-1]
        self.stream = Stream("images", keep=choice.keep, layers=(self.layer,))
        self.over_all = choice.over == "all"
        self.head = TARGETS[choice.target](backbone)

    def streams(self, progress: float) -> tuple[Stream, ...]:
        return (self.stream,) if progress < self.on_until else ()

    def forward(self, passes: Mapping[str, Pass]) -> Tensor:
        images = passes["images"]
        error = self.head(images.features[self.layer], images)
        if self.over_all:
            return error.mean(1)
        assert images.batch.keep is not None
        hidden = error.new_ones(error.shape).scatter(1, images.batch.keep, 0.0)
        return (error * hidden).sum(1) / hidden.sum(1)


class NoisedPatches(nn.Module):
    """Tokens (B, N, D) and their pass → mean square error on normalised noisy patches, (B, N)."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.read = nn.Linear(backbone.feature_dim, backbone.in_channels * backbone.patch**2)

    def forward(self, tokens: Tensor, images: Pass) -> Tensor:
        target = normalised_patches(images.denoiser.backbone.patchify(images.x_t))
        return (self.read(tokens) - target).square().mean(-1)


class Gradients(nn.Module):
    """Tokens (B, N, D) and their pass → squared distance of histograms, a mean over cells, (B, N).

    A head that predicts nothing has an error of 1 at most, as with normalised patches.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.patch = backbone.patch
        # An odd patch cannot be halved.
        self.cell = self.patch if self.patch % 2 else self.patch // 2
        self.cells = (self.patch // self.cell) ** 2
        self.norm = nn.LayerNorm(backbone.feature_dim, elementwise_affine=False)
        self.read = nn.Linear(backbone.feature_dim, ORIENTATIONS * self.cells)

    def forward(self, tokens: Tensor, images: Pass) -> Tensor:
        target = patch_histograms(images.batch.images, self.patch, self.cell)
        return (self.read(self.norm(tokens)) - target).square().sum(-1) / self.cells


TARGETS: dict[str, type[NoisedPatches | Gradients]] = {
    "noised": NoisedPatches,
    "gradients": Gradients,
}


def patch_histograms(images: Tensor, patch: int, cell: int) -> Tensor:
    """Images (B, C, H, W) → the histograms of each patch's cells, (B, N, orientations · cells)."""
    side = images.shape[-1] // cell
    histograms = oriented_gradients(images, cell).transpose(1, 2).unflatten(2, (-1, side))
    return F.pixel_unshuffle(histograms, patch // cell).flatten(2).transpose(1, 2)


def normalised_patches(patches: Tensor, epsilon: float = 1e-6) -> Tensor:
    """Patches (B, N, P) with mean 0 and variance 1 each."""
    variance, mean = patches.var(-1, keepdim=True), patches.mean(-1, keepdim=True)
    return (patches - mean) / (variance + epsilon).sqrt()
