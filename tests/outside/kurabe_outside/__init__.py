"""One term, one adaptation, one backbone, one encoder, one card, none of which Kurabe knows.

Settings, sentences and formulas stand here and need no torch; `networks` is imported when used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from kurabe.adaptations.base import InPlace
from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import AdaptationChoice, Positive, TermChoice, times
from kurabe.recipe import OutsideNetwork
from kurabe.registry import Idea

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kurabe.diffusion import NetworkDenoiser
    from kurabe.objectives.term import Pass, StreamTerm


class MeanColour(TermChoice):
    """The mean colour of the denoised image is the image's, squared error."""

    says = Text(ja="{weight:g} × 平均色の誤差", en="{weight:g} × error of the mean colour")

    term: Literal["mean-colour"] = "mean-colour"
    weight: Positive = 0.2

    def formula(self) -> Formula:
        return Formula(
            tex=rf"{times(self.weight)}‖\bar{{D}}\left(x_t,t\right)−\bar{{x}}_0‖^2",
            ja="平均色の誤差（¯ は画素の平均）",
            en="Error of the mean colour (¯: the mean over pixels)",
        )


def mean_colour(choice: MeanColour, denoiser: NetworkDenoiser) -> StreamTerm:
    """The term on the images that are denoised."""
    from kurabe.objectives.term import Stream, StreamTerm

    def losses(images: Pass) -> Tensor:
        assert images.prediction is not None
        estimated = denoiser.to_x0(images.prediction, images.x_t, images.batch.t)
        return (estimated - images.batch.images).mean((2, 3)).square().mean(1)

    return StreamTerm(choice.weight, Stream("images"), losses)


class RandomFirst(AdaptationChoice):
    """All but the first layer trains, from a base or from random weights."""

    says = Text(ja="最初の層以外の重み", en="All weights but the first layer's")
    counts = Text(ja="最初の層以外のすべて", en="All but the first layer's")
    from_random = True

    kind: Literal["random-first"] = "random-first"


class AllButFirst(InPlace):
    """The network without its first layer that has a weight."""

    def __init__(self, network: nn.Module, choice: RandomFirst) -> None:
        names = [name for name, _ in network.named_parameters()]
        first = next(name for name in names if "." in name).rpartition(".")[0] + "."
        super().__init__(network, {name for name in names if not name.startswith(first)})


class Convolutions(OutsideNetwork):
    """A few convolutions of one width."""

    kind: Literal["convolutions"] = "convolutions"
    width: int = 16


IDEAS = (
    Idea("terms", "mean-colour", f"{__name__}:mean_colour", MeanColour),
    Idea("adaptations", "random-first", f"{__name__}:AllButFirst", RandomFirst),
    Idea("backbones", "convolutions", f"{__name__}.networks:ConvolutionBackbone", Convolutions),
    Idea("encoders", "thumbnail", f"{__name__}.networks:thumbnail"),
    Idea("cards", "kurabe-outside", f"{__name__}:cards"),
)
