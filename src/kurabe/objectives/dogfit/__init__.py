"""The DogFit term's settings; `.term` computes it."""

from typing import Annotated, Literal

from pydantic import Field

from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import Positive, TermChoice, Weighting, times
from kurabe.registry import Idea


class DogFit(TermChoice):
    """Denoising towards a target that domain guidance has moved; it takes denoising's place.

    Attributes:
        weighting: as in the denoising term.
        strength: w of the guidance that is learned; 1 is plain denoising.
        cut_off: times from there on are learned without it.
    """

    says = Text(
        ja="ドメインガイダンスを織り込んだ雑音除去（強さ {strength:g}、t < {cut_off:g}、"
        "重み付け {weighting}）",
        en="denoising with domain guidance in its target (strength {strength:g}, t < {cut_off:g}, "
        "{weighting}-weighted)",
    )
    from_base = True
    any_size = True
    denoises = True

    term: Literal["dogfit"] = "dogfit"
    weighting: Weighting = "v"
    strength: Annotated[Positive, Field(ge=1)] = 1.5
    cut_off: Annotated[float, Field(gt=0, le=1)] = 1.0

    def formula(self) -> Formula:
        offset = r"D_{\mathrm{EMA}}−D_{\mathrm{base}}"
        moved = rf"x_{{0}}+{self.strength - 1:g}·\left({offset}\right)"
        error = rf"{{‖{{D\left(x_{{t}},t\right)−\left[{moved}\right]}}‖^2}}"
        return Formula(
            tex=rf"{times(self.weight)}𝔼_{{t,ε}}\left[{{w\left(λ_{{t}}\right)}}{error}\right]",
            ja="ガイダンスを織り込んだ雑音除去（D_EMA は重みの移動平均、D_base は適応前のベース、"
            "どちらも固定）",
            en="Denoising towards a guided target (D_EMA: the average of the weights; D_base: the "
            "base before it was adapted; both constant)",
        )


IDEAS = (Idea("terms", "dogfit", f"{__name__}.term:DogFitTerm", DogFit),)
