"""The denoising term's settings; `.term` computes it."""

from typing import Literal

from kurabe.methods.card import Formula, Text
from kurabe.methods.choice import TermChoice, Weighting, times
from kurabe.registry import Idea


class Denoising(TermChoice):
    """w(log SNR_t) · ‖D(x_t, t) − x₀‖²; `weighting` is a function of log SNR on the x₀-error."""

    says = Text(ja="雑音除去（重み付け {weighting}）", en="denoising ({weighting}-weighted)")

    term: Literal["denoising"] = "denoising"
    weighting: Weighting = "v"

    def sentence(self, lang: str) -> str:
        text = super().sentence(lang)
        return text if self.weight == 1 else f"{self.weight:g} × {text}"

    def formula(self) -> Formula:
        error = r"{‖{D\left(x_{t},t\right)−x_{0}}‖^2}"
        return Formula(
            tex=rf"{times(self.weight)}𝔼_{{t,ε}}\left[{{w\left(λ_{{t}}\right)}}{error}\right]",
            ja="雑音除去",
            en="Denoising",
            spoken="E over t and ε of w(log SNR) times ‖D(x_t, t) − x₀‖²",
        )


IDEAS = (Idea("terms", "denoising", f"{__name__}.term:DenoisingTerm", Denoising),)
