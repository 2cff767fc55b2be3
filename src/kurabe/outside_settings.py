"""What study.toml says of columns that were made elsewhere: images, features, models, one a block.

A path may hold {seed}, which stands for whatever is there; the places that fit, in the order of the
numbers in their names, are the blocks. {step} stands for the saved states of a run: a column each.
No torch, and no file is opened here.
"""

import glob
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, ValidationError, model_validator

from kurabe import bases
from kurabe.errors import UserError, shown
from kurabe.methods.settings import Later
from kurabe.recipe import Settings, first_problem

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.×_-]*$")]
Question = Literal["methods", "checkpoints"]
"""What a study answers: whether methods differ, over runs that were repeated, or whether these
very checkpoints do, one run each, over the images that they drew."""

# Into so many groups are the images of a checkpoint dealt, each group a value of its own.
GROUPS = 10
SEED, STEP = "{seed}", "{step}"
# What tells a folder with a model from one with images: a run's record, and what adapters have.
_RUN, _ADAPTER = "run.json", "adapter_config.json"


class OutsideColumn(Later, Settings):
    """A column that Kurabe measures and did not make.

    samples: folders of drawn images, features: files of features, checkpoint: bases or folders of
    runs that images are drawn from here, one a block. prompt: what a checkpoint that draws from
    text is told. method: the card of the method, where there is one.
    """

    later = ("method", "samples", "features", "checkpoint", "prompt")

    id: Slug
    method: str | None = None
    samples: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    checkpoint: tuple[str, ...] = ()
    prompt: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_is_enough(cls, given: Any) -> Any:
        """In a file a single checkpoint may stand without brackets."""
        if not isinstance(given, dict):
            return given
        settings = cast(dict[str, Any], given)
        one = settings.get("checkpoint")
        return {**settings, "checkpoint": (one,)} if isinstance(one, str) else settings

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.places:
            raise ValueError(
                f"the column '{self.id}' names neither samples, nor features, nor a checkpoint"
            )
        if self.checkpoint and (self.samples or self.features):
            raise ValueError(
                f"the column '{self.id}' has a checkpoint, whose images are drawn here; give its "
                "samples or features as a column of their own"
            )
        if self.prompt is not None and not self.checkpoint:
            raise ValueError(f"the column '{self.id}' has a prompt and no checkpoint to tell it")
        if self.samples and self.features and len(self.samples) != len(self.features):
            raise ValueError(
                f"the column '{self.id}' has {len(self.samples)} folders of samples and "
                f"{len(self.features)} files of features; give one of each for every block"
            )
        return self

    @property
    def places(self) -> int:
        """How many blocks it has something of."""
        return max(len(self.samples), len(self.features), len(self.checkpoint))


def found(pattern: str) -> dict[str, tuple[str, ...]]:
    """The places that a path stands for, whole, in the order of the numbers in their names, by what
    stands there for {step}; of a path without it, under "". A shipped base is itself.

    UserError where nothing is there.
    """
    path = Path(pattern).expanduser()
    if SEED not in pattern and STEP not in pattern:
        if pattern in bases.available():
            return {"": (pattern,)}
        if not path.exists():
            raise UserError(f"{pattern} does not exist.")
        return {"": (str(path.resolve()),)}
    steps: dict[str, list[str]] = {}
    for place in _fitting(path):
        steps.setdefault(_step_of(path, place), []).append(str(place))
    if not steps:
        raise UserError(
            f"Nothing fits {pattern}; {SEED} stands for a run's seed, as in runs/3/, and {STEP} "
            "for a saved state, as in checkpoint-500/."
        )
    return {
        step: tuple(str(Path(place).resolve()) for place in sorted(steps[step], key=_natural))
        for step in sorted(steps, key=_natural)
    }


def _fitting(path: Path) -> list[Path]:
    """What is there once {seed} and {step} stand for anything."""
    parts = path.parts
    first = next(i for i, part in enumerate(parts) if SEED in part or STEP in part)
    # Braces mean nothing to a glob, so that both are still there once the rest is escaped.
    below = [re.sub(r"\{seed\}|\{step\}", "*", glob.escape(part)) for part in parts[first:]]
    return list(Path(*parts[:first]).glob("/".join(below)))


def _step_of(path: Path, place: Path) -> str:
    """What stands for {step} in a place that fits the path; "" where the path has none."""
    if STEP not in str(path):
        return ""
    texts = re.split(r"(\{seed\}|\{step\})", str(path))
    known = {SEED: "[^/]*", STEP: "(?P<step>[^/]*)"}
    once = {SEED: "[^/]*", STEP: "(?P=step)"}
    rule, has = "", False
    for text in texts:
        rule += (once if has else known).get(text, re.escape(text))
        has = has or text == STEP
    fits = re.fullmatch(rule, str(place))
    return fits["step"] if fits else place.name


def _natural(place: str) -> tuple[tuple[int, str], ...]:
    """A name with its numbers as numbers: 2 comes before 10."""
    parts = re.split(r"(\d+)", place)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def columns_of(text: str) -> list[OutsideColumn]:
    """The columns that are typed as NAME=PATH, of which {step} makes several, NAME-STEP.

    Files are features, folders of a model checkpoints, others samples. UserError where it is not of
    that form, or nothing is there.
    """
    name, equals, pattern = text.partition("=")
    if not equals or not name or not pattern:
        raise UserError(f"--column {text}: write it like --column lora-a=runs/a/{SEED}/samples.")
    columns: list[OutsideColumn] = []
    for step, places in found(pattern).items():
        kinds = {_kind_of(place) for place in places}
        if len(kinds) > 1:
            raise UserError(
                f"--column {text}: what fits is not of one kind, but {' and '.join(sorted(kinds))}."
            )
        own = f"{name}-{step.lower()}" if step else name
        try:
            columns.append(OutsideColumn.model_validate({"id": own, kinds.pop(): places}))
        except ValidationError as error:
            raise UserError(f"--column {text}: {first_problem(error)}") from None
    return columns


def _kind_of(place: str) -> str:
    """What lies there, as the setting that names it; UserError for an adapter without its base."""
    path = Path(place)
    if place in bases.available() or (path / _RUN).is_file() or bases.is_one(place):
        return "checkpoint"
    if (path / _ADAPTER).is_file() or any(path.glob("pytorch_lora_weights.*")):
        raise UserError(
            f"{shown(place)} is an adapter without its base; with diffusers, load_lora_weights it "
            "into its pipeline, fuse_lora, and save_pretrained a folder that can be given here."
        )
    return "samples" if path.is_dir() else "features"
