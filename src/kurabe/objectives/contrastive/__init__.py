"""The contrastive term's settings; `.term` computes it."""

from typing import Annotated, Literal

from pydantic import Field

from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import Count, Positive, TermChoice, Views, times
from kurabe.registry import Idea


class Contrastive(TermChoice):
    """NT-Xent between two noised views of an image (Chen et al. 2020, eq. 1).

    Attributes:
        weight: λ of the term.
        temperature: τ of the softmax over cosine similarities.
        comparison_batch: images whose views are compared with one another: 2n views each time.
        share: part of what passes through the network that is views, two of each image; the rest
            is plain images for the denoising term. 1: everything is views, and every view is
            denoised as well, at times over the whole range; then what changes the views also
            changes what is drawn.
        min_log_snr: views are noised at times drawn uniformly among those whose log SNR is at
            least this, independently for each view, so that t alone cannot solve the term; at a
            share of 1 at all times.
        depth: where the features are taken, as a share of the backbone's named feature layers
            (0.5 is the middle one).
        grid: tokens are averaged over the cells of a grid × grid partition and the cells' vectors
            joined; 1 is the mean over all tokens, more keep where things are.
        views: the policy of crops, flips and colours that makes the views; at a share below 1
            only this term's images pass through it, so it does not change what is drawn.
        projection: width of the head that the term trains and throws away.
    """

    says = Text(
        ja="{weight:g} × 対照損失（τ {temperature:g}、{comparison_batch} 枚ずつ、"
        "通す画像の {share:.0%} が視点 {views}）",
        en="{weight:g} × contrastive (τ {temperature:g}, {comparison_batch} images at a time, "
        "{share:.0%} of what passes is views: {views})",
    )

    any_size = True

    term: Literal["contrastive"] = "contrastive"
    weight: Positive = 0.3
    temperature: Positive = 0.2
    comparison_batch: Annotated[int, Field(ge=2)] = 64
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    min_log_snr: float = 1.0
    depth: Annotated[float, Field(gt=0, le=1)] = 0.67
    grid: Count = 1
    views: Views = "crop-flip"
    projection: Count = 128

    def formula(self) -> Formula:
        tau = f"{self.temperature:g}"
        return Formula(
            tex=rf"−{times(self.weight, always=True)}\log"
            rf"\frac{{e^{{s_{{ij}}/{tau}}}}}{{\sum_{{k≠i}}e^{{s_{{ik}}/{tau}}}}}",
            ja="対照損失（s はコサイン類似度）",
            en="Contrast (s: cosine similarity)",
            spoken=f"−{self.weight:g} log of e^(s_ij/{tau}) over the sum over k ≠ i "
            f"of e^(s_ik/{tau})",
        )

    @property
    def thrown_away(self) -> int:
        return self.projection

    @property
    def views_all(self) -> bool:
        return self.share == 1


IDEAS = (Idea("terms", "contrastive", f"{__name__}.term:ContrastiveTerm", Contrastive),)
