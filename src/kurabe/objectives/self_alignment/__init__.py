"""The self-alignment term's settings; `.term` computes it."""

from typing import Annotated, Literal

from pydantic import Field

from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import Positive, TermChoice, times
from kurabe.registry import Idea

Depth = Annotated[float, Field(gt=0, le=1)]


class SelfAlignment(TermChoice):
    """An early layer follows the teacher's later one.

    Attributes:
        weight: of the distance.
        early, late: where the features are taken, as shares of the named feature layers.
        gap: the teacher sees the image at a time before t by up to this much.
        distance: between tokens: "smooth-l1" (β = 0.05), or "cosine", 1 − the similarity.
    """

    says = Text(
        ja="{weight:g} × 自己整合（深さ {early:.0%} の層を、雑音の弱い入力での教師の"
        "深さ {late:.0%} の層へ、{distance}）",
        en="{weight:g} × self-alignment (the layer at {early:.0%} of the depth follows the "
        "teacher's at {late:.0%} on less noise, {distance})",
    )
    compares_places = True
    any_size = True

    term: Literal["self-alignment"] = "self-alignment"
    weight: Positive = 2.0
    early: Depth = 0.33
    late: Depth = 0.67
    gap: Annotated[float, Field(gt=0, lt=1)] = 0.2
    distance: Literal["smooth-l1", "cosine"] = "smooth-l1"

    def formula(self) -> Formula:
        follows, leads = r"h\left(z\left(x_{t},t\right)\right)", r"y\left(x_{t−k},t−k\right)"
        return Formula(
            tex=rf"{times(self.weight)}𝔼_{{t,k,ε}}\left[d\left({follows},{leads}\right)\right]",
            ja="自己整合（z は浅い層の特徴、y は教師（重みの移動平均）の深い層の特徴、h はヘッド、"
            "d は距離）",
            en="Self-alignment (z: an early layer's features, y: a later one's of the teacher, a "
            "moving average of the weights; h: a head; d: a distance)",
        )


IDEAS = (Idea("terms", "self-alignment", f"{__name__}.term:SelfAlignmentTerm", SelfAlignment),)
