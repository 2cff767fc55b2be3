"""The self-flow term's settings; `.term` computes it."""

from typing import Annotated, Literal

from pydantic import Field

from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import Positive, TermChoice, times
from kurabe.registry import Idea

Depth = Annotated[float, Field(gt=0, le=1)]

_APART = {
    True: Text(ja="、二群の間は見えない", en=", the two groups unseen by each other"),
    False: Text(ja="、二群は互いに見える", en=", the two groups seen by each other"),
}


class SelfFlow(TermChoice):
    """Tokens of one image have one of two noise levels, and a layer follows the teacher's.

    All that is denoised has two levels while the term is on.

    Attributes:
        weight: of the distance, 1 − the cosine.
        early, late: where the features are taken, as shares of the named feature layers.
        apart: whether attention and all else keeps the two groups of tokens from seeing each
            other. If nothing is lost so, what helps is the variety of inputs, not what one group
            tells of the other.
    """

    says = Text(
        ja="{weight:g} × 二段階雑音の自己整合（トークンごとに二つの時刻、深さ {early:.0%} の層を、"
        "弱い方の雑音での教師の深さ {late:.0%} の層へ{between}）",
        en="{weight:g} × self-flow (tokens at one of two times; the layer at {early:.0%} of the "
        "depth follows the teacher's at {late:.0%} on the lesser noise{between})",
    )
    compares_places = True
    any_size = True

    term: Literal["self-flow"] = "self-flow"
    weight: Positive = 0.5
    early: Depth = 0.33
    late: Depth = 0.67
    apart: bool = False

    def words(self, lang: str) -> dict[str, object]:
        return {**super().words(lang), "between": _APART[self.apart].of(lang)}

    def formula(self) -> Formula:
        follows, leads = (
            r"h\left(z\left(x_{t,s}\right)\right)",
            r"y\left(x_{\min\left(t,s\right)}\right)",
        )
        return Formula(
            tex=rf"{times(self.weight)}𝔼_{{t,s,ε}}"
            rf"\left[1−\mathrm{{sim}}\left({follows},{leads}\right)\right]",
            ja="二段階雑音の自己整合（各トークンの時刻は t か s、z は浅い層の特徴、y は教師（重みの"
            "移動平均）が弱い方の雑音で見た深い層の特徴、h はヘッド、sim はコサイン類似度）",
            en="Self-flow (each token at time t or s; z: an early layer's features, y: a later "
            "one's of the teacher, a moving average of the weights, on the lesser noise; h: a "
            "head; sim: the cosine)",
        )


IDEAS = (Idea("terms", "self-flow", f"{__name__}.term:SelfFlowTerm", SelfFlow),)
