"""Classifier-free guidance: away from what the network draws where it is told nothing."""

from typing import Literal

from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import GuidanceChoice
from kurabe.registry import Idea


class ClassifierFreeGuidance(GuidanceChoice):
    """Ho & Salimans (2022), equation 6, whose w is this `weight` less 1."""

    says = Text(
        ja="分類器なしガイダンス（強さ {weight:g}、一評価に {passes} 回の順伝播）",
        en="classifier-free guidance (weight {weight:g}, {passes} passes an evaluation)",
    )

    kind: Literal["classifier-free"] = "classifier-free"

    def formula(self) -> Formula:
        strong, weak = r"D\left(x_{t},t,c\right)", r"D\left(x_{t},t,∅\right)"
        return Formula(
            tex=rf"{weak}+{self.weight:g}·\left({strong}−{weak}\right)",
            ja="サンプリングの推定（c は条件、∅ は条件なし）",
            en="The prediction while sampling (c is the condition, ∅ none)",
            spoken=f"D without condition plus {self.weight:g} times (D with it less D without)",
        )


IDEAS = (
    Idea(
        "guidance",
        "classifier-free",
        "kurabe.diffusion.guidance:classifier_free",
        ClassifierFreeGuidance,
    ),
)
