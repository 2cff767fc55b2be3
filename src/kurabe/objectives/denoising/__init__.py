"""The denoising term's settings; `.term` computes it."""

from typing import Literal

from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import DenoisingChoice
from kurabe.registry import Idea


class Denoising(DenoisingChoice):
    """w(log SNR_t) · ‖D(x_t, t) − x₀‖²; `weighting` is a function of log SNR on the x₀-error."""

    says = Text(
        ja="雑音除去（重み付け {weighting}{drawn}）", en="denoising ({weighting}-weighted{drawn})"
    )

    denoises = True

    term: Literal["denoising"] = "denoising"

    def sentence(self, lang: str) -> str:
        text = super().sentence(lang)
        return text if self.weight == 1 else f"{self.weight:g} × {text}"

    def formula(self) -> Formula:
        return Formula(
            tex=self.expectation(),
            ja="雑音除去",
            en="Denoising",
            spoken=f"E over t and ε of {self.spoken()}w(log SNR) times ‖D(x_t, t) − x₀‖²",
        )


IDEAS = (Idea("terms", "denoising", f"{__name__}.term:DenoisingTerm", Denoising),)
