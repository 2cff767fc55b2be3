"""The early-denoising term: a second head on an early layer predicts what the last one does.

Zhou et al. (2025), "Guiding a diffusion transformer with the internal dynamics of itself": with D_e
what the head on a layer makes of it, λ w(log SNR_t) ‖D_e(x_t, t) − x₀‖². The head is the network's
own and is kept: internal guidance draws away from it, at no further pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import Positive, TermChoice, Weighting, times
from kurabe.registry import Idea

if TYPE_CHECKING:
    from torch import Tensor

    from kurabe.diffusion import NetworkDenoiser
    from kurabe.objectives.term import Pass, StreamTerm


class EarlyDenoising(TermChoice):
    """Denoising by a head at `depth`, a share of the layers; λ and the quarter are the source's."""

    says = Text(
        ja="{weight:g} × 深さ {depth:.0%} の層のヘッドによる雑音除去（重み付け {weighting}）",
        en="{weight:g} × denoising by a head at {depth:.0%} of the depth ({weighting}-weighted)",
    )
    compares_places = True
    any_size = True

    term: Literal["early-denoising"] = "early-denoising"
    weight: Positive = 0.5
    weighting: Weighting = "v"
    depth: Annotated[float, Field(gt=0, lt=1)] = 0.25

    def formula(self) -> Formula:
        error = r"{‖{D_{\mathrm{early}}\left(x_{t},t\right)−x_{0}}‖^2}"
        return Formula(
            tex=rf"{times(self.weight)}𝔼_{{t,ε}}\left[{{w\left(λ_{{t}}\right)}}{error}\right]",
            ja="浅い層からの雑音除去（D_early は浅い層のヘッドの出力）",
            en="Denoising from an early layer (D_early: what its head makes of it)",
        )

    @property
    def early_head(self) -> float:
        return self.depth


def of_layer(choice: EarlyDenoising, denoiser: NetworkDenoiser) -> StreamTerm:
    """The term on the images that are denoised; UserError where a network can have no such head."""
    from kurabe.objectives.term import Stream, StreamTerm, with_early_head

    layer = with_early_head(denoiser.backbone, choice.depth)

    def losses(images: Pass) -> Tensor:
        batch, own = images.batch, images.denoiser
        told, grid = batch.condition, images.grid_of(layer)
        found = own.early(images.features[layer], images.x_t, batch.t, told, grid)
        error = own.loss(found, batch.images, batch.noise, batch.t, choice.weighting)
        return error.flatten(1).mean(1)

    return StreamTerm(choice.weight, Stream("images", layers=(layer,)), losses)


IDEAS = (Idea("terms", "early-denoising", f"{__name__}:of_layer", EarlyDenoising),)
