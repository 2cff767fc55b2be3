"""rsLoRA: LoRA whose update is divided by the square root of the rank.

Kalajdzievski (2023), "A rank stabilization scaling factor for fine-tuning with LoRA": with α / √r
in place of α / r neither what a layer gives nor its gradients shrink as the rank grows, so that
high ranks learn as fast as low ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from kurabe.adaptations.lora import LowRank
from kurabe.methods.card import Formula, Text
from kurabe.registry import Idea

if TYPE_CHECKING:
    from torch import nn

    from kurabe.adaptations.low_rank import LoRA


class RankStabilised(LowRank):
    """W + (alpha / √rank) · B A; rank, alpha and targets are LoRA's."""

    says = Text(
        ja="rsLoRA（ランク {rank}、α {alpha:g}、{targets}）",
        en="rsLoRA, rank {rank}, α {alpha:g}, {targets}",
    )

    kind: Literal["rslora"] = "rslora"

    def formula(self) -> Formula:
        return Formula(
            tex=r"W + \frac{α}{r^{1/2}} B A",
            ja="重みの更新（W は固定、B と A を学習）",
            en="Update (W frozen; B and A train)",
            spoken="W + (α / √r) B A, with W frozen",
        )


def of_network(network: nn.Module, choice: RankStabilised) -> LoRA:
    """The network's linear layers with PEFT's scaling by the root of the rank."""
    from kurabe.adaptations.low_rank import LoRA

    return LoRA(network, choice, use_rslora=True)


IDEAS = (Idea("adaptations", "rslora", f"{__name__}:of_network", RankStabilised),)
