"""Nothing trains: the start is used as it is."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal

from kurabe.adaptations.base import Adaptation
from kurabe.methods.card import Text
from kurabe.methods.settings import AdaptationChoice
from kurabe.registry import Idea

if TYPE_CHECKING:
    from torch import nn


class Untouched(AdaptationChoice):
    """Nothing trains: the start is used as it is."""

    says = Text(ja="なし（そのまま使う）", en="Nothing; used as it is")
    counts = Text(ja="0（更新なし）", en="0 (nothing trains)")
    trains = False

    kind: Literal["none"] = "none"


class AsItIs(Adaptation):
    """Nothing trains, and nothing is stored but what is fitted to the images."""

    def __init__(self, network: nn.Module, choice: Untouched) -> None:
        super().__init__(network)
        network.requires_grad_(False)

    def off(self) -> AbstractContextManager[None]:
        return self._as_fitted_before()

    def merge(self) -> None:
        pass


IDEAS = (Idea("adaptations", "none", f"{__name__}:AsItIs", Untouched),)
