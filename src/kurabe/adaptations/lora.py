"""LoRA's settings; the layers that they set are in `kurabe.adaptations.low_rank`."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import AdaptationChoice, Count, Positive
from kurabe.registry import Idea

TARGETS = {
    "all-linear": Text(ja="全線形層", en="all linear layers"),
    "attention": Text(ja="アテンションの線形層", en="attention's linear layers"),
}


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"neither a role nor a regular expression ({error})") from None
    return pattern


Pattern = Annotated[str, Field(min_length=1), AfterValidator(_compiles)]


class LowRank(AdaptationChoice):
    """W + (alpha / rank) · B A with W frozen (Hu et al. 2022, eq. 3).

    targets "all-linear" puts one on each linear layer of each block, "attention" on the
    attention's linear layers alone; anything else is a regular expression, searched for in the
    names of the network's linear layers.
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
    targets: Pattern = "all-linear"

    def words(self, lang: str) -> dict[str, Any]:
        said = TARGETS.get(self.targets)
        return {**dict(self), "targets": said.of(lang) if said else f"/{self.targets}/"}

    def formula(self) -> Formula:
        return Formula(
            tex=r"W + \frac{α}{r} B A",
            ja="重みの更新（W は固定、B と A を学習）",
            en="Update (W frozen; B and A train)",
            spoken="W + (α / r) B A, with W frozen",
        )


IDEAS = (Idea("adaptations", "lora", "kurabe.adaptations.low_rank:LoRA", LowRank),)
