"""What may change: everything, low-rank updates, nothing."""

from torch import nn

from kurabe.adaptations.base import Adaptation
from kurabe.adaptations.full import Full, Untouched
from kurabe.methods import choices


def attach(network: nn.Module, choice: choices.Adaptation) -> Adaptation:
    """Adapt a network in place as a method chooses; what does not train is frozen."""
    if isinstance(choice, choices.LowRank):
        # PEFT takes seconds to import, and most runs do without it.
        from kurabe.adaptations.lora import LoRA

        return LoRA(network, choice)
    return Full(network) if isinstance(choice, choices.Full) else Untouched(network)


__all__ = ["Adaptation", "attach"]
