"""The prior term: denoising of images that the base itself drew before training.

Ruiz et al. (2023), "DreamBooth: Fine tuning text-to-image diffusion models for subject-driven
generation", eq. 2, its second summand: the network goes on drawing what it drew, while it learns
something new. There a text names the class that the base is to draw, without the new word; here
`prompt` does, or else it draws what it draws, or is asked in the study.

With times that fall in t it is what Zhong et al. (2024), "Diffusion tuning: Transferring diffusion
models via chain of forgetting", retain: E[ξ(t) ‖ε − ε_θ(x_t, t)‖²], ξ ∝ 1 − t, on
images of a bank drawn by the base; beside it denoising with ψ ∝ t. Their code draws t so often.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import Count, DenoisingChoice, OpenShare
from kurabe.registry import Idea

if TYPE_CHECKING:
    from kurabe.diffusion import NetworkDenoiser
    from kurabe.objectives.term import StreamTerm


class Prior(DenoisingChoice):
    """Denoising of what the base drew.

    Attributes:
        weight: λ of the term; the paper's.
        weighting, times: as in the denoising term.
        images: how many the base draws before training, and `evaluations` network passes for
            each; both are paid from the run's budget, of which they take a fifth at most.
        share: part of what passes through the network that is drawn images.
        prompt: of a base that reads, what it is to draw, as "a dog" where the study's images show
            "a sks dog".
    """

    says = Text(
        ja="{weight:g} × 事前知識の保存（ベースが先に描く画像 {images} 枚まで、"
        "通す画像の {share:.0%}{drawn}{asked}）",
        en="{weight:g} × prior preservation (on up to {images} images that the base draws first, "
        "{share:.0%} of what passes{drawn}{asked})",
    )
    from_base = True
    later = ("prompt",)

    term: Literal["prior"] = "prior"
    images: Count = 200
    evaluations: Count = 20
    share: OpenShare = 0.5
    prompt: Annotated[str, Field(min_length=1, max_length=1000)] | None = None

    def words(self, lang: str) -> dict[str, Any]:
        asked = "" if self.prompt is None else f', "{self.prompt}"'
        return {**super().words(lang), "asked": asked}

    def formula(self) -> Formula:
        return Formula(
            tex=self.expectation("^{′}"),
            ja="事前知識の保存（x′₀ は学習の前にベースが描いた画像）",
            en="Prior preservation (x′₀: an image that the base drew before training)",
        )


def of_base(choice: Prior, denoiser: NetworkDenoiser) -> StreamTerm:
    """The term on a stream of its own, of what the base drew."""
    from kurabe.objectives.denoising.term import errors
    from kurabe.objectives.term import LAWS, Drawn, Stream, StreamTerm

    source = Drawn(choice.images, choice.evaluations, prompt=choice.prompt)
    stream = Stream("prior", source=source, share=choice.share, law=LAWS[choice.times])
    return StreamTerm(choice.weight, stream, partial(errors, weighting=choice.weighting))


IDEAS = (Idea("terms", "prior", f"{__name__}:of_base", Prior),)
