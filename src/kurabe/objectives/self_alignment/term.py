"""The self-alignment term: an early layer follows a later one of the teacher, on less noise.

Jiang et al. (2025), "No other representation component is needed: Diffusion transformers can
provide representation guidance by themselves" (SRA): with z the early layer's tokens at time t, y
the later layer's of the moving average of the weights at t − k, k uniform in [0, 0.2], of the same
image with the same noise, and a head h that is thrown away, the mean of d(h(z), y) over tokens.
Head, layers, smooth L1 with β = 0.05 and the weight are those that the authors' code begins with.
Where the two layers lie on different grids, y is brought onto z's.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kurabe.diffusion import NetworkDenoiser
from kurabe.errors import UserError
from kurabe.objectives.self_alignment import SelfAlignment
from kurabe.objectives.term import Pass, Stream, Term, layer_at, on_grid

BETA = 0.05


class SelfAlignmentTerm(Term):
    """The distance on the images that are denoised; UserError where both layers would be one."""

    references = ("teacher",)

    def __init__(self, choice: SelfAlignment, denoiser: NetworkDenoiser) -> None:
        super().__init__()
        backbone = denoiser.backbone
        self.weight, self.distance = choice.weight, DISTANCES[choice.distance]
        self.early, self.late = (layer_at(backbone, at) for at in (choice.early, choice.late))
        if self.early == self.late:
            raise UserError(
                f"Self-alignment is between two layers, and early = {choice.early:g} and late = "
                f"{choice.late:g} are both {self.early} of this network's "
                f"{len(backbone.feature_layers)}; move them apart."
            )
        self.stream = Stream("images", layers=(self.early,), gap=choice.gap)
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
            x_t = teacher.noisy(batch.images, batch.noise, batch.earlier)
            found = teacher.features(x_t, batch.earlier, batch.condition, (self.late,))
            grids = images.grid_of(self.late), images.grid_of(self.early)
            target = on_grid(found[self.late], *grids).float()
        return self.distance(self.head(images.features[self.early]).float(), target).mean(1)


def smooth_l1(a: Tensor, b: Tensor) -> Tensor:
    """Tokens (B, N, D) → mean over D of d²/2β where |d| < β, else |d| − β/2; (B, N)."""
    return F.smooth_l1_loss(a, b, reduction="none", beta=BETA).mean(-1)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Tokens (B, N, D) → 1 − cos(a, b), (B, N)."""
    return 1 - F.cosine_similarity(a, b, dim=-1)


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "smooth-l1": smooth_l1,
    "cosine": cosine,
}
