"""Norms alone: what shifts and scales behind the normalisation layers trains, the rest is frozen.

Where a norm has no parameters of its own, since the time embedding shifts and scales in its place
(Peebles & Xie 2023, adaLN), the constant part of that shift and scale, and of the gate that comes
with them, stands for them: `Backbone.norms` names it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from kurabe.adaptations.base import InPlace
from kurabe.errors import UserError
from kurabe.methods.card import Text
from kurabe.methods.settings import AdaptationChoice
from kurabe.registry import Idea

if TYPE_CHECKING:
    from torch import nn


class NormsOnly(AdaptationChoice):
    """Scale and shift of every norm train."""

    says = Text(ja="正規化層のみ", en="Norms alone")
    counts = Text(
        ja="正規化層の倍率とずらし（適応正規化ではその定数部分）、ほかは固定",
        en="Scale and shift of the norms (the constant part of adaptive norms), the rest frozen",
    )

    kind: Literal["norms"] = "norms"


class Norms(InPlace):
    """They change in place; UserError where the network has none."""

    def __init__(self, network: nn.Module, choice: NormsOnly) -> None:
        names = norms_of(network)
        if not names:
            raise UserError("Norms alone are to train, and those of this network have nothing to.")
        super().__init__(network, names)


def norms_of(network: nn.Module) -> set[str]:
    """Names of the parameters of a network's norms, and of what stands in their place."""
    found: set[str] = set()
    for place, module in network.named_modules():
        if "norm" in type(module).__name__.lower():
            own = (n for n, p in module.named_parameters(recurse=False) if p.dim() == 1)
            found |= {f"{place}.{name}" for name in own}
    pattern: str = getattr(network, "norms", "")
    if pattern:
        every = (name for name, _ in network.named_parameters())
        found |= {name for name in every if re.search(pattern, name)}
    return found


IDEAS = (Idea("adaptations", "norms", f"{__name__}:Norms", NormsOnly),)
