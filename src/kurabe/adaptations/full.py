"""Full fine-tuning (or training from scratch): every weight trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from kurabe.adaptations.base import InPlace
from kurabe.methods.card import Text
from kurabe.methods.settings import AdaptationChoice
from kurabe.registry import Idea

if TYPE_CHECKING:
    from torch import Tensor, nn


class Full(AdaptationChoice):
    """Every weight trains."""

    says = Text(ja="すべての重み", en="All weights")
    counts = Text(ja="すべて（100 %）", en="All (100 %)")
    from_random = True

    kind: Literal["full"] = "full"


class AllWeights(InPlace):
    """Every weight trains, and what a network keeps beside its weights is stored with them."""

    def __init__(self, network: nn.Module, choice: Full) -> None:
        super().__init__(network, {name for name, _ in network.named_parameters()})

    def state(self) -> dict[str, Tensor]:
        return dict(self.network.state_dict(keep_vars=True))


IDEAS = (Idea("adaptations", "full", f"{__name__}:AllWeights", Full),)
