"""What may change: each idea is a module or folder here, which the registry finds.

Settings derive from `kurabe.methods.choice.AdaptationChoice`; what they set is made by calling
the idea with a network and these settings. Importing a module here needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kurabe import registry
from kurabe.adaptations.base import Adaptation
from kurabe.methods.choice import AdaptationChoice

if TYPE_CHECKING:
    from torch import nn


def attach(network: nn.Module, choice: AdaptationChoice) -> Adaptation:
    """Adapt a network in place as a method chooses; what does not train is frozen."""
    return registry.load("adaptations", choice.kind)(network, choice)


__all__ = ["Adaptation", "attach"]
