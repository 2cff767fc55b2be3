"""The masked term: what the hidden tokens looked like, predicted from the visible ones.

Zheng et al. (2024), "Fast training of diffusion models with masked transformers" (MaskDiT),
eq. 5: the mean square error on the hidden patches of the noised input, each patch normalised to
mean 0 and variance 1 as in MAE (He et al. 2022). Only the visible tokens pass the blocks before
the decoder, which is where the time is saved. MaskDiT reads the reconstruction from the
network's own output; here a linear head of the term reads it from the last block, so that one
output is not asked for two different things.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from kurabe.diffusion import NetworkDenoiser
from kurabe.methods.choices import Masked
from kurabe.objectives.term import Pass, Stream, Term


class MaskedTerm(Term):
    """Reconstruction of the hidden patches of the stream "images"; off for the last stretch."""

    def __init__(self, choice: Masked, denoiser: NetworkDenoiser) -> None:
        super().__init__()
        backbone = denoiser.backbone
        self.weight, self.on_until = choice.weight, 1 - choice.unmask_share
        self.layer = backbone.feature_layers[-1]
        self.stream = Stream("images", keep=choice.keep, layers=(self.layer,))
        self.head = nn.Linear(backbone.feature_dim, backbone.in_channels * backbone.patch**2)

    def streams(self, progress: float) -> tuple[Stream, ...]:
        return (self.stream,) if progress < self.on_until else ()

    def forward(self, passes: Mapping[str, Pass]) -> Tensor:
        images = passes["images"]
        target = normalised_patches(images.denoiser.backbone.patchify(images.x_t))
        error = (self.head(images.features[self.layer]) - target).square().mean(-1)
        hidden = error.new_ones(error.shape).scatter(1, images.batch.keep, 0.0)
        return (error * hidden).sum(1) / hidden.sum(1)


def normalised_patches(patches: Tensor, epsilon: float = 1e-6) -> Tensor:
    """Patches (B, N, P) with mean 0 and variance 1 each."""
    variance, mean = patches.var(-1, keepdim=True), patches.mean(-1, keepdim=True)
    return (patches - mean) / (variance + epsilon).sqrt()
