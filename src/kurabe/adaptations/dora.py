"""DoRA: low-rank updates of a weight's directions, beside its magnitudes.

Liu et al. (2024), "DoRA: Weight-decomposed low-rank adaptation", eq. 5, in PEFT's names:

    W′ = m (W + s B A) / ‖W + s B A‖,    s = alpha / rank,

row by row of the weight as torch stores it, a row being what makes one output. m starts at ‖W‖,
so that the adapted network is the base until the first update, bit for bit. The norm counts as a
constant in the backward pass (section 4.3), which hardly changes what is learned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from kurabe.adaptations.lora import LowRank
from kurabe.methods.card import Formula, Text
from kurabe.registry import Idea

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kurabe.adaptations.low_rank import LoRA


class DoRA(LowRank):
    """A magnitude for each output beside LoRA's update; rank, alpha and targets are LoRA's."""

    says = Text(
        ja="DoRA（ランク {rank}、α {alpha:g}、{targets}）",
        en="DoRA, rank {rank}, α {alpha:g}, {targets}",
    )
    counts = Text(
        ja="線形層ごとに {rank} × (入力 + 出力) + 出力 個、ほかは固定（{targets}）",
        en="{rank} × (inputs + outputs) + outputs of each linear layer, the rest is frozen "
        "({targets})",
    )

    kind: Literal["dora"] = "dora"

    def formula(self) -> Formula:
        update = r"W + \frac{α}{r} B A"
        return Formula(
            tex=rf"W^\prime = m \frac{{{update}}}{{\Vert {update} \Vert_c}}",
            ja="重みの更新（W は固定、‖·‖_c は出力ごとのノルム、m と B と A を学習）",
            en="Update (W frozen; ‖·‖_c: the norm for each output; m, B and A train)",
        )


def of_network(network: nn.Module, choice: DoRA) -> LoRA:
    """The network's linear layers, wrapped in PEFT's and computed as one product each."""
    import torch
    from torch.nn.functional import linear

    from kurabe.adaptations.low_rank import LoRA, MergedLinear

    class Directed(MergedLinear):
        """The layer of eq. 5."""

        def product(self, x: Tensor, base: nn.Module, a: Tensor, b: Tensor, scale: float) -> Tensor:
            layer: Any = base
            # Added in the weight's own format, also where products are in a narrower one.
            merged = layer.weight + scale * (b @ a)
            magnitude: Any = self.lora_magnitude_vector["default"]
            share = magnitude.weight / torch.linalg.norm(merged.detach(), dim=1)
            return linear(x, share.unsqueeze(1) * merged, layer.bias)

    return LoRA(network, choice, Directed, use_dora=True)


IDEAS = (Idea("adaptations", "dora", f"{__name__}:of_network", DoRA),)
