"""The self-flow term: two noise levels over the tokens of one image, and a teacher on the lesser.

Chefer et al. (2026), "Self-supervised flow matching for scalable multi-modal synthesis"
(Self-Flow): two times t and s are drawn for an image, and each token has one of them; with z an
early layer's tokens of that image, y the later layer's of the moving average of the weights on the
whole image at min(t, s) with the same noise, and a head h that is thrown away, the mean of
1 − cos(h(z), y) over tokens. Half of the tokens have either time in expectation. What denoises
sees the two levels too.

`apart` is the control of a later work on the same question (arXiv 2607.02508, code in the authors'
repository SRA): attention between the groups is blocked, and here the convolutions' reach as well.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kurabe.diffusion import NetworkDenoiser
from kurabe.errors import UserError
from kurabe.objectives.self_flow import SelfFlow
from kurabe.objectives.term import Pass, Stream, Term, layer_at, on_grid


class SelfFlowTerm(Term):
    """1 − cosine on the images that are denoised; UserError where both layers would be one."""

    references = ("teacher",)

    def __init__(self, choice: SelfFlow, denoiser: NetworkDenoiser) -> None:
        super().__init__()
        backbone = denoiser.backbone
        self.weight = choice.weight
        self.early, self.late = (layer_at(backbone, at) for at in (choice.early, choice.late))
        if self.early == self.late:
            raise UserError(
                f"Self-flow is between two layers, and early = {choice.early:g} and late = "
                f"{choice.late:g} are both {self.early} of this network's "
                f"{len(backbone.feature_layers)}; move them apart."
            )
        self.stream = Stream("images", layers=(self.early,), levels=2, apart=choice.apart)
        dims = backbone.dim_of(self.early), backbone.dim_of(self.late)
        self.head = nn.Sequential(
            nn.Linear(dims[0], sum(dims)), nn.SiLU(), nn.Linear(sum(dims), dims[1])
        )

    def streams(self, progress: float) -> tuple[Stream, ...]:
        return (self.stream,)

    def forward(self, passes: Mapping[str, Pass]) -> Tensor:
        images = passes["images"]
        batch, teacher = images.batch, images.references["teacher"]
        with torch.no_grad():
            # One time an image where gradients are compared by noise level.
            t = batch.t.reshape(len(batch.t), -1).amin(1)
            x_t = teacher.noisy(batch.images, batch.noise, t)
            found = teacher.features(x_t, t, batch.condition, (self.late,))
            target = on_grid(
                found[self.late], images.grid_of(self.late), images.grid_of(self.early)
            )
        followed = self.head(images.features[self.early]).float()
        return 1 - F.cosine_similarity(followed, target.float(), dim=-1).mean(1)
