"""The DogFit term: domain guidance moved into the target of fine-tuning, so that sampling takes one
pass.

Bahram et al. (2025), "DogFit: Domain-guided fine-tuning for efficient transfer learning of
diffusion models", and their code without control of the strength: with y what the network is to
predict, ŷ_EMA what the moving average of its weights does and ŷ_base what the base does, told no
condition,

    y′ = y + (w − 1) (ŷ_EMA − ŷ_base)    for t below the cut-off, y elsewhere.

Since the average begins at the base, the offset begins at zero and comes with what is learned;
their late start is not needed for that, and not here.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from kurabe.diffusion import NetworkDenoiser
from kurabe.objectives.dogfit import DogFit
from kurabe.objectives.term import Pass, Stream, Term


class DogFitTerm(Term):
    """The error of the stream "images" against the moved target."""

    references = ("base", "teacher")
    denoises = True

    def __init__(self, choice: DogFit, denoiser: NetworkDenoiser) -> None:
        super().__init__()
        self.weight, self.weighting = choice.weight, choice.weighting
        self.strength, self.cut_off = choice.strength, choice.cut_off
        self.stream = Stream("images")

    def streams(self, progress: float) -> tuple[Stream, ...]:
        return (self.stream,)

    def forward(self, passes: Mapping[str, Pass]) -> Tensor:
        images = passes["images"]
        batch, own = images.batch, images.denoiser
        assert images.prediction is not None
        # An error against y + δ is that of ŷ − δ against y.
        moved = images.prediction - self.offset(images)
        error = own.loss(moved, batch.images, batch.noise, batch.t, self.weighting)
        return error.flatten(1).mean(1)

    @torch.no_grad()
    def offset(self, images: Pass) -> Tensor:
        """δ = (w − 1) (ŷ_EMA − ŷ_base) below the cut-off, 0 elsewhere, (B, C, H, W)."""
        batch, seen = images.batch, images.x_t
        average = images.references["teacher"].predict(seen, batch.t, batch.condition).prediction
        known = images.references["base"].predict(seen, batch.t).prediction
        on = (batch.t < self.cut_off).to(average.dtype)
        # Nearest cells, where tokens have times of their own.
        on = on.unsqueeze(1) if on.dim() == 3 else on.view(-1, 1, 1, 1)
        on = F.interpolate(on, seen.shape[2:])
        return (self.strength - 1) * on * (average - known)
