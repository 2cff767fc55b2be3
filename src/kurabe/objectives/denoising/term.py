"""The denoising term: w(log SNR_t) · ‖D(x_t, t) − x₀‖², averaged over an image's values.

Ho et al. (2020), "Denoising diffusion probabilistic models", eq. 14 is the weighting "eps".
Where tokens were dropped, the mean is over the visible patches alone (Zheng et al. 2024, eq. 4):
on the others the network has seen nothing to denoise.
"""

from collections.abc import Mapping

from torch import Tensor

from kurabe.diffusion import NetworkDenoiser
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.term import LAWS, Pass, Stream, Term


class DenoisingTerm(Term):
    """Denoising of the stream "images", at times of the chosen law."""

    denoises = True

    def __init__(self, choice: Denoising, denoiser: NetworkDenoiser) -> None:
        super().__init__()
        self.weight, self.weighting = choice.weight, choice.weighting
        self.stream = Stream("images", law=LAWS[choice.times])

    def streams(self, progress: float) -> tuple[Stream, ...]:
        return (self.stream,)

    def forward(self, passes: Mapping[str, Pass]) -> Tensor:
        return errors(passes["images"], self.weighting)


def errors(images: Pass, weighting: str) -> Tensor:
    """The weighted error of each image, (B,), a mean over its values or its visible patches."""
    batch, denoiser = images.batch, images.denoiser
    assert images.prediction is not None
    loss = denoiser.loss(images.prediction, batch.images, batch.noise, batch.t, weighting)
    if batch.keep is None:
        return loss.flatten(1).mean(1)
    per_patch = denoiser.backbone.patchify(loss).mean(-1)
    return per_patch.gather(1, batch.keep).mean(1)
