"""What may change: each idea is a module or folder here, which the registry finds.

Settings derive from `kurabe.methods.settings.AdaptationChoice`; what they set is made by calling
the idea with a network and these settings. Importing a module here needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kurabe import registry
from kurabe.adaptations.base import Adaptation
from kurabe.errors import UserError
from kurabe.methods.settings import AdaptationChoice

if TYPE_CHECKING:
    from torch import nn


def attach(network: nn.Module, choice: AdaptationChoice) -> Adaptation:
    """Adapt a network in place as a method chooses; what does not train is frozen.

    The tables of new classes (`Backbone.fresh`) train with every adaptation that trains anything;
    UserError where one does not store what it was not asked to train.
    """
    adaptation: Adaptation = registry.load("adaptations", choice.kind)(network, choice)
    fresh: frozenset[str] = getattr(network, "fresh", frozenset())
    if not choice.trains:
        return adaptation
    for name in fresh:
        network.get_parameter(name).requires_grad_(True)
    if not fresh <= adaptation.state().keys():
        raise UserError(f"The adaptation '{choice.kind}' cannot train a table of new classes.")
    return adaptation


__all__ = ["Adaptation", "attach"]
