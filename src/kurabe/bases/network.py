"""What a recipe's network is asked, whatever its kind. No torch here."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from kurabe.bases.scheduler import Scheduler


class Prompt(BaseModel):
    """The text that a text-conditional base is given, and where its encoder and tokenizer lie."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    text: str


class Described:
    """What most networks answer; another kind answers for itself. Nothing of it is written."""

    @property
    def timesteps(self) -> Scheduler | None:
        """The scheduler in whose steps it counts noise; None where its schedule has a name."""
        return None

    @property
    def space(self) -> tuple[str, tuple[Any, ...]]:
        """What it sees of an image: a name of the group "spaces", and what that is made from."""
        return "pixels", ()

    @property
    def granule(self) -> int:
        """What sides in pixels must be a multiple of, where it takes images of several sizes.

        0 where its weights know the places of one size alone.
        """
        return 0

    @property
    def told(self) -> Prompt | None:
        """The text that it is told; None for one that draws from noise alone."""
        return None
