"""Full fine-tuning (or training from scratch): every weight trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from kurabe.adaptations.base import Adaptation
from kurabe.methods.card import Text
from kurabe.methods.choice import AdaptationChoice
from kurabe.registry import Idea

if TYPE_CHECKING:
    from torch import Tensor, nn


class Full(AdaptationChoice):
    """Every weight trains."""

    says = Text(ja="すべての重み", en="All weights")
    counts = Text(ja="すべて（100 %）", en="All (100 %)")
    from_random = True

    kind: Literal["full"] = "full"


class AllWeights(Adaptation):
    """Every weight trains; the start is kept beside it, for `off`."""

    def __init__(self, network: nn.Module, choice: Full) -> None:
        super().__init__(network)
        network.requires_grad_(True)
        self._start = {name: tensor.detach().clone() for name, tensor in self.state().items()}

    def state(self) -> dict[str, Tensor]:
        return dict(self.network.state_dict(keep_vars=True))

    @contextmanager
    def off(self) -> Iterator[None]:
        adapted = {name: tensor.detach().clone() for name, tensor in self.state().items()}
        self.load(self._start)
        try:
            yield
        finally:
            self.load(adapted)

    def merge(self) -> None:
        self._start = {}


IDEAS = (Idea("adaptations", "full", f"{__name__}:AllWeights", Full),)
