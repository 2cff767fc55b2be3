"""Domain guidance: away from what the base drew before it was adapted."""

from typing import Literal

from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import GuidanceChoice
from kurabe.registry import Idea


class BaseGuidance(GuidanceChoice):
    """Zhong et al. (2025): the base takes the place of the branch that is told nothing."""

    says = Text(
        ja="ドメインガイダンス（強さ {weight:g}、一評価に {passes} 回の順伝播）",
        en="domain guidance (weight {weight:g}, {passes} passes an evaluation)",
    )

    kind: Literal["domain"] = "domain"

    def formula(self) -> Formula:
        strong, weak = r"D\left(x_{t},t\right)", r"D_{\mathrm{base}}\left(x_{t},t\right)"
        return Formula(
            tex=rf"{weak}+{self.weight:g}·\left({strong}−{weak}\right)",
            ja="サンプリングの推定（D_base は適応前のベースモデル）",
            en="The prediction while sampling (D_base is the base before it was adapted)",
            spoken=f"D of the base plus {self.weight:g} times (D less D of the base)",
        )


IDEAS = (Idea("guidance", "domain", "kurabe.diffusion.guidance:domain", BaseGuidance),)
