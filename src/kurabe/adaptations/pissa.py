"""PiSSA: low-rank updates that begin at a weight's own principal part.

Meng et al. (2024), "PiSSA: Principal singular values and singular vectors adaptation of large
language models", eqs. 2–4. With W = U S Vᵀ and r the rank,

    A₀ = S_r^½ V_rᵀ / √s,    B₀ = U_r S_r^½ / √s,    W′ = W + s (B A − B₀ A₀),    s = alpha / rank,

which is the paper's residual W − s B₀ A₀ and the principal part that trains. So written, W itself
stays what it was, and the network is the base until the first update, bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from kurabe.adaptations.lora import LowRank
from kurabe.errors import UserError
from kurabe.methods.card import Formula, Text
from kurabe.registry import Idea

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kurabe.adaptations.low_rank import LoRA


class Principal(LowRank):
    """The largest `rank` singular components of each weight train."""

    says = Text(
        ja="PiSSA（ランク {rank}、α {alpha:g}、{targets}）",
        en="PiSSA, rank {rank}, α {alpha:g}, {targets}",
    )

    kind: Literal["pissa"] = "pissa"

    def formula(self) -> Formula:
        return Formula(
            tex=r"W + \frac{α}{r} \left(B A − B_0 A_0\right)",
            ja="重みの更新（W は固定、B と A は W の主成分 B₀ A₀ から始めて学習）",
            en="Update (W frozen; B and A train, from W's principal part B₀ A₀ on)",
            spoken="W + (α / r) (B A − B₀ A₀), with W frozen",
        )


def of_network(network: nn.Module, choice: Principal) -> LoRA:
    """The network's linear layers; UserError where a weight has fewer singular values than that."""
    import torch
    from torch.nn.functional import linear

    from kurabe.adaptations.low_rank import LoRA, MergedLinear

    class FromPrincipal(MergedLinear):
        """The layer that the module's text describes."""

        def product(self, x: Tensor, base: nn.Module, a: Tensor, b: Tensor, scale: float) -> Tensor:
            change = b @ a - cast("Tensor", self.start_b) @ cast("Tensor", self.start_a)
            weight, bias = cast("tuple[Tensor, Tensor | None]", (base.weight, base.bias))
            return linear(x, weight + scale * change, bias)

        def begin(self) -> None:
            """A and B from the weight's singular vectors, kept beside it as they began."""
            a, b = (cast("Tensor", of["default"].weight) for of in (self.lora_A, self.lora_B))
            weight = cast("Tensor", self.get_base_layer().weight)
            # In double precision, so that another machine's rounding begins at the same floats.
            u, s, vt = torch.linalg.svd(weight.double(), full_matrices=False)
            if choice.rank > len(s):
                raise UserError(
                    f"PiSSA's rank {choice.rank} is more than the {len(s)} singular values of a "
                    "layer of this network; lower it, or name other targets."
                )
            root = (s[: choice.rank] / self.scaling["default"]).sqrt()
            a.copy_(root.unsqueeze(1) * vt[: choice.rank])
            b.copy_(u[:, : choice.rank] * root)
            self.register_buffer("start_a", a.detach().clone(), persistent=False)
            self.register_buffer("start_b", b.detach().clone(), persistent=False)

        def get_delta_weight(self, adapter: str) -> Tensor:
            own = super().get_delta_weight(adapter)
            start = cast("Tensor", self.start_b) @ cast("Tensor", self.start_a)
            return own - self.scaling[adapter] * start

    adapted = LoRA(network, choice, FromPrincipal)
    with torch.no_grad():
        for layer in adapted.layers:
            cast(FromPrincipal, layer).begin()
    return adapted


IDEAS = (Idea("adaptations", "pissa", f"{__name__}:of_network", Principal),)
