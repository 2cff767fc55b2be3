"""The layer-sync term: a shallow layer follows a deeper one of the same pass.

Haghighi et al. (2025), "LayerSync: Self-aligning intermediate layers": with z_s and z_d the tokens
of the two layers at the same place n, and no gradient into the deeper one,

    1 − (1/N) Σ_n cos(z_s,n, stop(z_d,n)).

No head lies between them: the authors' code compares the layers as they are, at λ = 0.2 and at a
third and two thirds of the depth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import Positive, TermChoice, times
from kurabe.registry import Idea

if TYPE_CHECKING:
    from torch import Tensor

    from kurabe.diffusion import NetworkDenoiser
    from kurabe.objectives.term import Pass, StreamTerm

Depth = Annotated[float, Field(gt=0, le=1)]


class LayerSync(TermChoice):
    """The layer at `shallow` follows the one at `deep`, shares of the named feature layers."""

    says = Text(
        ja="{weight:g} × 層間同期（深さ {shallow:.0%} の層を、同じ計算の深さ {deep:.0%} の層へ）",
        en="{weight:g} × layer sync (the layer at {shallow:.0%} of the depth follows the one at "
        "{deep:.0%} of the same pass)",
    )
    compares_places = True
    any_size = True

    term: Literal["layer-sync"] = "layer-sync"
    weight: Positive = 0.2
    shallow: Depth = 0.33
    deep: Depth = 0.67

    def formula(self) -> Formula:
        similar = r"\mathrm{sim}\left(z_{n},\mathrm{stop}\left(y_{n}\right)\right)"
        return Formula(
            tex=rf"{times(self.weight)}𝔼_{{t,ε}}"
            rf"\left[1−\frac{{1}}{{N}}\sum_n{similar}\right]",
            ja="層間同期（z は浅い層、y は同じ計算の深い層の特徴、n は N 個の場所、stop は勾配を"
            "流さないこと、sim はコサイン類似度）",
            en="Layer sync (z: a shallow layer's features, y: a deeper one's of the same pass; n: "
            "one of N places; stop: no gradient passes; sim: the cosine)",
        )


def of_layers(choice: LayerSync, denoiser: NetworkDenoiser) -> StreamTerm:
    """The term on the images that are denoised; UserError where two layers cannot be compared."""
    import torch.nn.functional as F

    from kurabe.objectives.term import Stream, StreamTerm, on_grid

    shallow, deep = _layers(choice, denoiser)

    def losses(images: Pass) -> Tensor:
        grids = images.grid_of(deep), images.grid_of(shallow)
        leads = on_grid(images.features[deep].detach(), *grids).float()
        follows = images.features[shallow].float()
        return 1 - F.cosine_similarity(follows, leads, dim=-1).mean(1)

    return StreamTerm(choice.weight, Stream("images", layers=(shallow, deep)), losses)


def _layers(choice: LayerSync, denoiser: NetworkDenoiser) -> tuple[str, str]:
    from kurabe.errors import UserError
    from kurabe.objectives.term import layer_at

    backbone = denoiser.backbone
    names = backbone.feature_layers
    shallow, deep = (layer_at(backbone, at) for at in (choice.shallow, choice.deep))
    said = f"shallow = {choice.shallow:g} and deep = {choice.deep:g}"
    if names.index(shallow) >= names.index(deep):
        raise UserError(
            f"Layer sync draws a layer towards a deeper one, and {said} are {shallow} and {deep} "
            f"of this network's {len(names)}; move them apart."
        )
    widths = [backbone.dim_of(layer) for layer in (shallow, deep)]
    if widths[0] != widths[1]:
        raise UserError(
            f"Layer sync compares layers as they are, and {said} are {widths[0]} and {widths[1]} "
            "wide in this network; choose layers of one width."
        )
    return shallow, deep


IDEAS = (Idea("terms", "layer-sync", f"{__name__}:of_layers", LayerSync),)
