"""The masked term's settings; `.term` computes it."""

from typing import Annotated, Literal

from pydantic import Field

from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import OpenShare, Positive, TermChoice, times
from kurabe.registry import Idea

# For each target: the sentence, what the formula is called, and the target in TeX and in text.
_SAYS = {
    "noised": Text(
        ja="{weight:g} × マスク予測（見えるトークン {keep:.0%}{over}）",
        en="{weight:g} × masked prediction ({keep:.0%} of tokens visible{over})",
    ),
    "gradients": Text(
        ja="{weight:g} × 勾配方向ヒストグラムの予測（見えるトークン {keep:.0%}{over}）",
        en="{weight:g} × prediction of gradient histograms ({keep:.0%} of tokens visible{over})",
    ),
}
_CALLED = {
    "noised": Text(
        ja="マスク予測（m は隠したトークン、g はネットワークの出力、x_t はパッチごとに正規化）",
        en="Masked prediction (m: hidden tokens, g: the network's output, x_t normalised by patch)",
    ),
    "gradients": Text(
        ja="マスク予測（m は隠したトークン、g はネットワークの出力、"
        "h はパッチごとの勾配方向ヒストグラム）",
        en="Masked prediction (m: hidden tokens, g: the network's output, h: a histogram of "
        "oriented gradients for each patch)",
    ),
}
_TARGET = {"noised": ("x_{t}", "x_t"), "gradients": (r"{h\left(x_{0}\right)}", "h(x₀)")}
_OVER_ALL = Text(ja="、全トークンを予測", en=", all predicted")


class Masked(TermChoice):
    """Masked prediction (Zheng et al. 2024, MaskDiT; Wei et al. 2022, MaskFeat).

    While the term is on, denoising is averaged over the visible tokens only.

    Attributes:
        weight: of the prediction's error, a mean over tokens.
        keep: share of the tokens that pass through the blocks before the decoder.
        unmask_share: last share of the budget, in which all tokens are seen and the term is off.
        target: what is predicted of a token: "noised", its patch of the noisy input, normalised
            by patch (MaskDiT), or "gradients", the histograms of oriented gradients of its patch
            of the clean image (MaskFeat).
        over: the tokens whose prediction counts, "hidden" ones or "all".
    """

    hides_tokens = True
    any_size = True

    term: Literal["masked"] = "masked"
    weight: Positive = 0.1
    keep: OpenShare = 0.5
    unmask_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    target: Literal["noised", "gradients"] = "noised"
    over: Literal["hidden", "all"] = "hidden"

    def sentence(self, lang: str) -> str:
        over = _OVER_ALL.of(lang) if self.over == "all" else ""
        return _SAYS[self.target].of(lang).format(weight=self.weight, keep=self.keep, over=over)

    def formula(self) -> Formula:
        target, plain = _TARGET[self.target]
        error = rf"{{{{g\left({{\left(1−m\right)⊙x_{{t}}}},t\right)}}−{target}}}"
        text = f"g((1 − m) ⊙ x_t, t) − {plain}"
        if self.over == "hidden":
            error, text = rf"{{m⊙\left({error}\right)}}", f"m ⊙ ({text})"
        called = _CALLED[self.target]
        return Formula(
            tex=rf"{times(self.weight, always=True)}𝔼_{{tm}}{{‖{error}‖^2}}",
            ja=called.ja,
            en=called.en,
            spoken=f"{self.weight:g} E of ‖{text}‖², m the hidden tokens",
        )


IDEAS = (Idea("terms", "masked", f"{__name__}.term:MaskedTerm", Masked),)
