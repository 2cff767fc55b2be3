"""The pairwise term's settings; `.term` computes it."""

from typing import Annotated, Literal

from pydantic import Field

from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import Positive, TermChoice, times
from kurabe.registry import Idea


class Pairwise(TermChoice):
    """Images of a batch are to stay as alike to one another as the base found them.

    Attributes:
        weight: λ of the term, between 0.1 and 1 in the paper.
        high: what the same comparison of high frequencies counts beside it.
        detail: what the error of the high frequencies themselves counts beside it; with `weight`
            it is within the paper's 0.01 to 0.08.
        comparison_batch: images that are compared with one another.
    """

    says = Text(
        ja="{weight:g} × 相対距離の保存（{comparison_batch} 枚ずつ、高周波 {high:g}、"
        "細部 {detail:g}）",
        en="{weight:g} × relative distances ({comparison_batch} images at a time, high "
        "frequencies {high:g}, detail {detail:g})",
    )
    from_base = True
    compares_places = True

    term: Literal["pairwise"] = "pairwise"
    weight: Positive = 0.5
    high: Annotated[float, Field(ge=0)] = 1.0
    detail: Annotated[float, Field(ge=0)] = 0.1
    comparison_batch: Annotated[int, Field(ge=3)] = 8

    def formula(self) -> Formula:
        tuned, base = r"p_i^{\mathrm{tuned}}", r"p_i^{\mathrm{base}}"
        return Formula(
            tex=rf"{times(self.weight)}𝔼_{{i}}\left[D_{{\mathrm{{KL}}}} "
            rf"\left({tuned} \Vert {base}\right)\right]",
            ja="相対距離の保存（p_i はバッチの i 枚目の推定画像と他の画像のコサイン類似度の "
            "softmax、高周波にも同じ項と誤差を置く）",
            en="Relative distances (p_i: the softmax of cosines between the predicted clean image "
            "i of a batch and the others; high frequencies have a like term, and one of error)",
        )


IDEAS = (Idea("terms", "pairwise", f"{__name__}.term:PairwiseTerm", Pairwise),)
