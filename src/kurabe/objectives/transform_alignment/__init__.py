"""The transform-alignment term's settings; `.term` computes it."""

from typing import Annotated, Literal

from pydantic import Field

from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import Positive, TermChoice, times
from kurabe.registry import Idea

# What a transform is called, in a sentence and beside the formula.
_CALLED = {
    "gradients": Text(ja="勾配方向ヒストグラム", en="gradient histograms"),
    "pixels": Text(ja="画素", en="pixels"),
}


class TransformAlignment(TermChoice):
    """An early layer follows a fixed transform of the clean image, place by place; none is hidden.

    Attributes:
        weight: λ of the term; half of REPA's range, as of the encoder-alignment term.
        until: the share of the run after which the term is off for good.
        transform: what is followed: "gradients", histograms of oriented gradients (HOG) of the
            pixels that a token stands for, in two by two cells where these divide, or "pixels",
            those pixels themselves, which tell what attachment alone does.
        depth: where the features are taken, as a share of the backbone's named feature layers.
    """

    says = Text(
        ja="{weight:g} × 固定変換への整合（深さ {depth:.0%} の層を、元の画像の{called}へ）",
        en="{weight:g} × alignment with a fixed transform (the layer at {depth:.0%} of the depth "
        "follows {called} of the clean image)",
    )
    compares_places = True
    any_size = True

    term: Literal["transform-alignment"] = "transform-alignment"
    weight: Positive = 0.5
    until: Annotated[float, Field(gt=0, le=1)] = 0.33
    transform: Literal["gradients", "pixels"] = "gradients"
    depth: Annotated[float, Field(gt=0, le=1)] = 0.33

    def words(self, lang: str) -> dict[str, object]:
        return {**super().words(lang), "called": _CALLED[self.transform].of(lang)}

    def formula(self) -> Formula:
        similar = r"\mathrm{sim}\left(\hat{y}_{n},h_{n}\left(z\right)\right)"
        called = _CALLED[self.transform]
        return Formula(
            tex=rf"{times(self.weight)}𝔼_{{t,ε}}"
            rf"\left[1−\frac{{1}}{{N}}\sum_n{similar}\right]",
            ja=f"固定変換への整合（ŷ は元の画像の{called.ja}を場所について標準化したもの、"
            "z は浅い層の特徴、n は N 個の場所、h は 3×3 の畳み込み、sim はコサイン類似度）",
            en=f"Alignment with a fixed transform (ŷ: {called.en} of the clean image, standardised "
            "over places; z: an early layer's features; n: one of N places; h: a 3×3 convolution; "
            "sim: the cosine)",
        )


IDEAS = (
    Idea(
        "terms",
        "transform-alignment",
        f"{__name__}.term:TransformAlignmentTerm",
        TransformAlignment,
    ),
)
