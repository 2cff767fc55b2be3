"""What study.toml says of columns that were made elsewhere: images, features, one file a block.

A path may hold {seed}, which stands for whatever is there; the places that fit, in the order of the
numbers in their names, are the blocks. No torch, and no file is opened here.
"""

import glob
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kurabe.errors import UserError
from kurabe.methods.settings import Later
from kurabe.recipe import Settings

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.×_-]*$")]
Question = Literal["methods", "checkpoints"]
"""What a study answers: whether methods differ, over runs that were repeated, or whether these
very checkpoints do, one run each, over the images that they drew."""

# Into so many groups are the images of a checkpoint dealt, each group a value of its own.
GROUPS = 10
SEED = "{seed}"


class OutsideColumn(Later, Settings):
    """A column that Kurabe measures and did not make.

    samples: folders of drawn images, features: files of features, one a block. method: the card of
    the method, where there is one.
    """

    later = ("method", "samples", "features")

    id: Slug
    method: str | None = None
    samples: tuple[str, ...] = ()
    features: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.samples and not self.features:
            raise ValueError(f"the column '{self.id}' names neither samples nor features")
        if self.samples and self.features and len(self.samples) != len(self.features):
            raise ValueError(
                f"the column '{self.id}' has {len(self.samples)} folders of samples and "
                f"{len(self.features)} files of features; give one of each for every block"
            )
        return self

    @property
    def places(self) -> int:
        """How many blocks it has something of."""
        return max(len(self.samples), len(self.features))


def found(pattern: str) -> tuple[str, ...]:
    """The places that a path with {seed} stands for, whole, by the numbers in their names; of a
    path without, itself. UserError where nothing is there."""
    path = Path(pattern).expanduser()
    if SEED not in pattern:
        if not path.exists():
            raise UserError(f"{pattern} does not exist.")
        return (str(path.resolve()),)
    anchor, pattern_below = _below(path)
    places = [str(place) for place in anchor.glob(pattern_below)]
    if not places:
        raise UserError(f"Nothing fits {pattern}; {SEED} stands for a run's seed, as in runs/3/.")
    return tuple(str(Path(place).resolve()) for place in sorted(places, key=_natural))


def _below(path: Path) -> tuple[Path, str]:
    """The last folder above {seed}, and the rest with a * for what stands there."""
    parts = path.parts
    first = next(i for i, part in enumerate(parts) if SEED in part)
    below = (glob.escape(part).replace(glob.escape(SEED), "*") for part in parts[first:])
    return Path(*parts[:first]), "/".join(below)


def _natural(place: str) -> tuple[tuple[int, str], ...]:
    """A name with its numbers as numbers: 2 comes before 10."""
    parts = re.split(r"(\d+)", place)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def column_of(text: str) -> OutsideColumn:
    """A column as it is typed, NAME=PATH; folders are samples, files features.

    UserError where it is not of that form, or nothing is there.
    """
    name, equals, pattern = text.partition("=")
    if not equals or not name or not pattern:
        raise UserError(f"--column {text}: write it like --column lora-a=runs/a/{SEED}/samples.")
    places = found(pattern)
    folders = [Path(place).is_dir() for place in places]
    if any(folders) != all(folders):
        raise UserError(f"--column {text}: some of what fits are folders and some files.")
    kind = "samples" if all(folders) else "features"
    settings = {"id": name, kind: places}
    return OutsideColumn.model_validate(settings)
