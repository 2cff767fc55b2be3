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

from kurabe.diffusion import NetworkDenoiser
from kurabe.methods.choices import Masked
from kurabe.objectives.histograms import ORIENTATIONS, oriented_gradients
from kurabe.objectives.term import Pass, Stream, Term


class MaskedTerm(Term):
    """Error of the predicted targets in the stream "images"; off for the last stretch.

    The error is a mean over a normalised patch's values, or over a patch's histograms of their
    squared distances; in both cases 1 at most, on average, for a head that predicts nothing.
    """

    def __init__(self, choice: Masked, denoiser: NetworkDenoiser) -> None:
        super().__init__()
        backbone = denoiser.backbone
        self.weight, self.on_until = choice.weight, 1 - choice.unmask_share
        self.layer = backbone.feature_layers[-1]
        self.stream = Stream("images", keep=choice.keep, layers=(self.layer,))
        self.gradients, self.over_all = choice.target == "gradients", choice.over == "all"
        width, side = backbone.feature_dim, backbone.patch
        # An odd patch cannot be halved.
        self.cell = side if side % 2 else side // 2
        self.head = (
            nn.Sequential(
                nn.LayerNorm(width, elementwise_affine=False),
                nn.Linear(width, ORIENTATIONS * (side // self.cell) ** 2),
            )
            if self.gradients
            else nn.Linear(width, backbone.in_channels * side**2)
        )

    def streams(self, progress: float) -> tuple[Stream, ...]:
        return (self.stream,) if progress < self.on_until else ()

    def forward(self, passes: Mapping[str, Pass]) -> Tensor:
        images = passes["images"]
        error = self._error(images)
        if self.over_all:
            return error.mean(1)
        assert images.batch.keep is not None
        hidden = error.new_ones(error.shape).scatter(1, images.batch.keep, 0.0)
        return (error * hidden).sum(1) / hidden.sum(1)

    def _error(self, images: Pass) -> Tensor:
        """Error of each token's prediction, (B, N)."""
        backbone, predicted = images.denoiser.backbone, self.head(images.features[self.layer])
        if self.gradients:
            target = patch_histograms(images.batch.images, backbone.patch, self.cell)
            return (predicted - target).square().sum(-1) / (backbone.patch // self.cell) ** 2
        return (predicted - normalised_patches(backbone.patchify(images.x_t))).square().mean(-1)


def patch_histograms(images: Tensor, patch: int, cell: int) -> Tensor:
    """Images (B, C, H, W) → the histograms of each patch's cells, (B, N, orientations · cells)."""
    side = images.shape[-1] // cell
    histograms = oriented_gradients(images, cell).transpose(1, 2).unflatten(2, (-1, side))
    return F.pixel_unshuffle(histograms, patch // cell).flatten(2).transpose(1, 2)


def normalised_patches(patches: Tensor, epsilon: float = 1e-6) -> Tensor:
    """Patches (B, N, P) with mean 0 and variance 1 each."""
    variance, mean = patches.var(-1, keepdim=True), patches.mean(-1, keepdim=True)
    return (patches - mean) / (variance + epsilon).sqrt()
