"""The dispersive term: features of a batch repel one another, without positives and without a head.

Wang & He (2025), "Diffuse and disperse: Image generation with representation regularization", the
InfoNCE variant with squared ℓ2 distances: with z_i the flattened features of a layer, d their
number and i, j over the comparison batch, i = j included,

    log mean_ij exp(−‖z_i − z_j‖² / (d τ))  ≥  −log B.

The floor is where everything is far from everything; reaching it is no progress by itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import Positive, TermChoice, times
from kurabe.registry import Idea

if TYPE_CHECKING:
    from torch import Tensor

    from kurabe.diffusion import NetworkDenoiser
    from kurabe.objectives.term import Pass, StreamTerm


class Dispersive(TermChoice):
    """Repulsion at `depth` (a share of the layers) among comparison_batch images; τ, λ: paper's."""

    says = Text(
        ja="{weight:g} × 分散損失（τ {temperature:g}、{comparison_batch} 枚ずつ）",
        en="{weight:g} × dispersive (τ {temperature:g}, {comparison_batch} images at a time)",
    )

    compares_places = True
    any_size = True

    term: Literal["dispersive"] = "dispersive"
    weight: Positive = 0.5
    temperature: Positive = 0.5
    comparison_batch: Annotated[int, Field(ge=2)] = 32
    depth: Annotated[float, Field(gt=0, le=1)] = 0.25

    def formula(self) -> Formula:
        power = rf"−\frac{{‖z_i−z_j‖^2}}{{{self.temperature:g} d}}"
        return Formula(
            tex=rf"{times(self.weight)}\log 𝔼_{{i,j}}\left[\exp\left({power}\right)\right]",
            ja="分散損失（z_i はバッチの i 枚目の中間層の特徴、d はその次元数）",
            en="Dispersion (z_i: a middle layer's features of the batch's i-th image, d values)",
        )


def of_stream(choice: Dispersive, denoiser: NetworkDenoiser) -> StreamTerm:
    """The term on the images that are denoised; all of a comparison batch share its loss."""
    from kurabe.objectives.term import Stream, StreamTerm, gathered, layer_at, own_part

    layer, size = layer_at(denoiser.backbone, choice.depth), choice.comparison_batch

    def losses(images: Pass) -> Tensor:
        z = gathered(images.features[layer].flatten(1).float()).unflatten(0, (-1, size))
        return own_part(dispersion(z, choice.temperature).repeat_interleave(size))

    return StreamTerm(choice.weight, Stream("images", layers=(layer,), together=size), losses)


def dispersion(z: Tensor, temperature: float) -> Tensor:
    """Features z (G, B, d) of G comparison batches → log mean_ij exp(−‖z_i − z_j‖²/(d τ)), (G,)."""
    import torch

    # Not by products, which would round small distances of long vectors away.
    distances = torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist").square()
    scaled = -distances / (z.shape[-1] * temperature)
    return scaled.flatten(1).logsumexp(1) - 2 * math.log(z.shape[1])


IDEAS = (Idea("terms", "dispersive", f"{__name__}:of_stream", Dispersive),)
