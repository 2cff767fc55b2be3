"""Internal guidance: away from what the network's own early layer draws, at no further pass."""

from typing import ClassVar, Literal

from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import GuidanceChoice, Positive
from kurabe.registry import Idea


class InternalGuidance(GuidanceChoice):
    """Zhou et al. (2025): the head that the term early-denoising trains is the weaker branch."""

    says = Text(
        ja="内部ガイダンス（強さ {weight:g}、一評価に {passes} 回の順伝播）",
        en="internal guidance (weight {weight:g}, {passes} pass an evaluation)",
    )
    passes: ClassVar[int] = 1

    kind: Literal["internal"] = "internal"
    weight: Positive = 1.4

    def formula(self) -> Formula:
        strong, weak = r"D\left(x_{t},t\right)", r"D_{\mathrm{early}}\left(x_{t},t\right)"
        return Formula(
            tex=rf"{weak}+{self.weight:g}·\left({strong}−{weak}\right)",
            ja="サンプリングの推定（D_early は浅い層の出力ヘッド）",
            en="The prediction while sampling (D_early is the head on an early layer)",
            spoken=f"D of the early head plus {self.weight:g} times (D less D of the early head)",
        )


IDEAS = (Idea("guidance", "internal", "kurabe.diffusion.guidance:internal", InternalGuidance),)
