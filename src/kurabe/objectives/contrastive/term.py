"""The contrastive term: NT-Xent between two noised views of an image.

Chen et al. (2020), "A simple framework for contrastive learning of visual representations",
eq. 1: −log e^{s_ij/τ} / Σ_{k≠i} e^{s_ik/τ}, s the cosine of projected, pooled features. Each
view has its own time, drawn independently: with one time per image shared by its two views, t
alone would tell images apart.

Under several processes a comparison batch may lie across them: the projected views of all are
gathered, in their order in the stream, with gradients that flow back to the process each came
from. So loss and gradient do not depend on the number of processes. Under accumulation a
comparison batch lies within one micro-batch (of all processes together); a recipe in which it
does not is refused by the plan, since views of other micro-batches have other gradients to wait
for.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kurabe.backbones.base import pool
from kurabe.diffusion import NetworkDenoiser
from kurabe.errors import UserError
from kurabe.objectives.contrastive import Contrastive
from kurabe.objectives.term import Pass, Stream, Term, gathered, layer_at, own_part


class ContrastiveTerm(Term):
    """NT-Xent on the pooled tokens of one layer, behind a head that is thrown away.

    UserError where it is to compare more cells than there are tokens.
    """

    def __init__(self, choice: Contrastive, denoiser: NetworkDenoiser) -> None:
        super().__init__()
        backbone = denoiser.backbone
        self.weight, self.temperature = choice.weight, choice.temperature
        self.comparison_batch = choice.comparison_batch
        self.layer = layer_at(backbone, choice.depth)
        self.stream = _stream(choice, denoiser, self.layer)
        self.grid, (rows, columns) = choice.grid, backbone.grid_of(self.layer)
        if self.grid > min(rows, columns):
            raise UserError(
                f"The contrastive term asks for {self.grid}×{self.grid} cells of {rows}×{columns} "
                f"tokens; grid may be {min(rows, columns)} at most."
            )
        dim = backbone.dim_of(self.layer)
        width = dim * choice.grid**2
        self.projection = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * dim),
            nn.GELU(),
            nn.Linear(2 * dim, choice.projection),
        )

    def streams(self, progress: float) -> tuple[Stream, ...]:
        return (self.stream,)

    def forward(self, passes: Mapping[str, Pass]) -> Tensor:
        images = passes[self.stream.name]
        tokens = images.features[self.layer]
        pooled = pool(tokens, images.grid_of(self.layer), self.grid)
        projected = gathered(self.projection(pooled).float())
        losses = nt_xent(projected, self.comparison_batch, self.temperature)
        return own_part(losses)


def _stream(choice: Contrastive, denoiser: NetworkDenoiser, layer: str) -> Stream:
    """The views: a stream of their own at low noise, or all images, which are denoised too."""
    views = Stream(
        "images",
        views=2,
        policy=choice.views,
        layers=(layer,),
        predicts=False,
        together=choice.comparison_batch,
    )
    if choice.share == 1:
        return views
    low_noise = torch.tensor(choice.min_log_snr, dtype=torch.float64)
    latest = float(denoiser.schedule.time_of_log_snr(low_noise))
    return replace(views, name="views", share=choice.share, latest=latest)


def nt_xent(projected: Tensor, comparison_batch: int, temperature: float) -> Tensor:
    """NT-Xent per view, (2n,), from projected features (2n, D) whose pairs stand side by side.

    Each view is compared with the other 2 · comparison_batch − 1 views of its comparison batch
    and no others, so the loss does not depend on how many batches are computed at once.
    """
    unit = F.normalize(projected.float(), dim=-1)
    unit = unit.reshape(-1, 2 * comparison_batch, unit.shape[-1])
    similarity = unit @ unit.transpose(1, 2) / temperature
    itself = torch.eye(2 * comparison_batch, dtype=torch.bool, device=unit.device)
    similarity = similarity.masked_fill(itself, -torch.inf)
    partner = torch.arange(2 * comparison_batch, device=unit.device) ^ 1
    target = partner.expand(len(unit), -1)
    return F.cross_entropy(similarity.flatten(0, 1), target.flatten(), reduction="none")
