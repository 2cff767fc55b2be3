"""BitFit: the biases train, the rest is frozen.

Ben Zaken et al. (2022), "BitFit: Simple parameter-efficient fine-tuning for transformer-based
masked language-models". A bias is a parameter of that name, whichever layer it belongs to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from kurabe.adaptations.base import InPlace
from kurabe.errors import UserError
from kurabe.methods.card import Formula, Text
from kurabe.methods.settings import AdaptationChoice
from kurabe.registry import Idea

if TYPE_CHECKING:
    from torch import nn


class BitFit(AdaptationChoice):
    """Every bias of the network trains."""

    says = Text(ja="バイアスのみ（BitFit）", en="Biases alone (BitFit)")
    counts = Text(ja="すべてのバイアス、ほかは固定", en="All biases, the rest is frozen")

    kind: Literal["bitfit"] = "bitfit"

    def formula(self) -> Formula:
        return Formula(
            tex="W x + b",
            ja="層の出力（x は層の入力、W は固定、バイアス b だけを学習）",
            en="A layer (x: its input; W is frozen, and the bias b alone trains)",
        )


class Biases(InPlace):
    """The biases change in place; UserError where the network has none."""

    def __init__(self, network: nn.Module, choice: BitFit) -> None:
        every = (name for name, _ in network.named_parameters())
        names = {name for name in every if name.rpartition(".")[2] == "bias"}
        if not names:
            raise UserError("BitFit trains biases, and this network has none.")
        super().__init__(network, names)


IDEAS = (Idea("adaptations", "bitfit", f"{__name__}:Biases", BitFit),)
