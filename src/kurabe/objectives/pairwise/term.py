"""The pairwise term: predicted images keep their distances from one another as in the base.

Zhu et al. (2022), "Few-shot image generation with diffusion models" (DDPM-PA), section 4: with
x̂₀ⁱ the clean image that a network predicts from the i-th noisy one of a batch,

    p_i = softmax_{j≠i} cos(x̂₀ⁱ, x̂₀ʲ),    Σ_i KL(p_i of the tuned network ‖ p_i of the base),

the same of their high frequencies, the sum of a Haar transform's three finer parts, and the mean
squared error of those of x̂₀ and x₀. Here all three are means over the images of the batch.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from kurabe.diffusion import NetworkDenoiser
from kurabe.objectives.pairwise import Pairwise
from kurabe.objectives.term import Pass, Stream, Term, gathered, own_part


class PairwiseTerm(Term):
    """The term on the images that are denoised; the base sees the same noisy images."""

    references = ("base",)

    def __init__(self, choice: Pairwise, denoiser: NetworkDenoiser) -> None:
        super().__init__()
        self.weight, self.choice = choice.weight, choice
        self.stream = Stream("images", together=choice.comparison_batch)

    def streams(self, progress: float) -> tuple[Stream, ...]:
        return (self.stream,)

    def forward(self, passes: Mapping[str, Pass]) -> Tensor:
        images = passes["images"]
        batch, base, own = images.batch, images.references["base"], images.denoiser
        assert images.prediction is not None
        tuned = own.to_x0(images.prediction, images.x_t, batch.t).float()
        with torch.no_grad():
            known = base(images.x_t, batch.t, batch.condition).float()
        fine, was_fine = high_frequencies(tuned), high_frequencies(known)
        choice, size = self.choice, self.choice.comparison_batch
        found = moved(tuned, known, size) + choice.high * moved(fine, was_fine, size)
        error = (fine - high_frequencies(batch.images.float())).square().flatten(1).mean(1)
        return found + choice.detail * error


def moved(tuned: Tensor, base: Tensor, size: int) -> Tensor:
    """Images (B, …) of comparison batches of `size`, this process's → each one's KL, (B,)."""
    rows = (gathered(x.flatten(1)).unflatten(0, (-1, size)) for x in (tuned, base))
    p, q = (log_likeness(x) for x in rows)
    return own_part((p.exp() * (p - q)).sum(-1).flatten())


def log_likeness(rows: Tensor) -> Tensor:
    """Rows (G, B, D) → for each the log-softmax of its cosines with the others, (G, B, B − 1)."""
    unit = F.normalize(rows, dim=-1)
    cosines = unit @ unit.transpose(1, 2)
    n = cosines.shape[-1]
    others = ~torch.eye(n, dtype=torch.bool, device=cosines.device)
    return cosines[:, others].unflatten(1, (n, n - 1)).log_softmax(-1)


def high_frequencies(images: Tensor) -> Tensor:
    """Images (B, C, H, W) → LH + HL + HH of their Haar transform, (B, C, ⌊H/2⌋, ⌊W/2⌋).

    Of four neighbours a b over c d these are (c + d − a − b)/2, (b + d − a − c)/2 and
    (a + d − b − c)/2, whose sum is (3d − a − b − c)/2.
    """
    rows, columns = (side // 2 * 2 for side in images.shape[2:])
    even = images[:, :, :rows, :columns]
    a, b = even[..., ::2, ::2], even[..., ::2, 1::2]
    c, d = even[..., 1::2, ::2], even[..., 1::2, 1::2]
    return (3 * d - a - b - c) / 2
