"""LoRA's settings; the layers that they set are in `kurabe.adaptations.low_rank`."""

from typing import Any, Literal

from kurabe.methods.card import Formula, Text
from kurabe.methods.choice import AdaptationChoice, Count, Positive
from kurabe.registry import Idea

TARGETS = {
    "all-linear": Text(ja="全線形層", en="all linear layers"),
    "attention": Text(ja="アテンションの線形層", en="attention's linear layers"),
}


class LowRank(AdaptationChoice):
    """W + (alpha / rank) · B A with W frozen (Hu et al. 2022, eq. 3).

    targets "all-linear" puts one on each linear layer of each block, "attention" on the
    attention's linear layers alone.
    """

    says = Text(
        ja="LoRA（ランク {rank}、α {alpha:g}、{targets}）",
        en="LoRA, rank {rank}, α {alpha:g}, {targets}",
    )
    counts = Text(
        ja="線形層ごとに {rank} × (入力 + 出力) 個、ほかは固定（{targets}）",
        en="{rank} × (inputs + outputs) of each linear layer, the rest is frozen ({targets})",
    )

    kind: Literal["lora"] = "lora"
    rank: Count = 8
    alpha: Positive = 8
    targets: Literal["all-linear", "attention"] = "all-linear"

    def words(self, lang: str) -> dict[str, Any]:
        return {**dict(self), "targets": TARGETS[self.targets].of(lang)}

    def formula(self) -> Formula:
        return Formula(
            tex=r"W + \frac{α}{r} B A",
            ja="重みの更新（W は固定、B と A を学習）",
            en="Update (W frozen; B and A train)",
            spoken="W + (α / r) B A, with W frozen",
        )


IDEAS = (Idea("adaptations", "lora", "kurabe.adaptations.low_rank:LoRA", LowRank),)
