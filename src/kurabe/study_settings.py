"""study.toml as settings: columns × blocks of seeds under one budget, checked as a whole.

What runs a study (`kurabe.studies.study`) and what only reads its results make the same checks
here, so that both say the same of a mistake. No torch.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import AfterValidator, Field, ValidationError, model_validator

from kurabe.errors import UserError
from kurabe.methods import Choices, choices_of, find
from kurabe.methods.settings import Later
from kurabe.outside_settings import GROUPS, OutsideColumn, Question, Slug
from kurabe.planned_looks import planned_looks, wrong_looks
from kurabe.recipe import (
    AnyNetwork,
    Budget,
    DataSettings,
    Evaluation,
    Network,
    Optimiser,
    Positive,
    Settings,
    a_device,
    first_problem,
    read_toml,
)

# Learning-rate trials have seeds so far above those of the blocks, of which there are fewer.
TRIAL_SEEDS = 1_000_000
# A run's images start from its seed × 2²⁰ and up, which are keys of 64 bits; room is left for those
# of blocks and trials, which count up from the one given.
MOST_SEED = 10**12

# What no column of several may have for itself: a block compares like with like.
SHARED = frozenset({"method", "data", "seed", "budget"})


def _auto_or_device(name: str) -> str:
    return name if name == "auto" else a_device(name)


class Column(Settings):
    """One method of a study; `overrides` are recipe settings that only this column has.

    budget_factor multiplies the study's budget: "from scratch, 16 times as long" is a column.
    """

    id: Slug
    method: str
    budget_factor: Annotated[float, Field(gt=0)] = 1
    overrides: dict[str, Any] = Field(default_factory=dict)


class Trials(Settings):
    """Learning-rate trials, as many for every column, on validation, with seeds of their own.

    The grid is the method's default times spacing^k, k = −(count−1)/2 … (count−1)/2; each trial
    has `share` of the column's budget. Of rates that trials cannot tell apart the one nearest the
    default is the best (`kurabe.studies.trials`). Where any column's best rate lies at an end of
    its grid, every column gets a further trial, at most `more` times.
    """

    count: Annotated[int, Field(ge=0, le=15)] = 3
    more: Annotated[int, Field(ge=0, le=5)] = 2
    spacing: Annotated[float, Field(gt=1)] = 3.0
    share: Annotated[float, Field(gt=0, le=1)] = 0.25

    def grid(self, default: float) -> tuple[float, ...]:
        """Learning rates to try, rising, rounded to three digits; empty without trials."""
        middle = (self.count - 1) / 2
        return tuple(
            float(f"{default * self.spacing ** (k - middle):.3g}") for k in range(self.count)
        )


class StudySettings(Later, Settings):
    """Columns × blocks. `equal` says which budget every column gets alike: images or seconds.

    `looks` are the numbers of blocks after which marks are made, planned with the study; where none
    are given, its blocks and the usual numbers beyond them (`kurabe.planned_looks`).

    With a budget in seconds and equal = "images", the baseline column's calibrated speed turns
    the seconds into images for all columns; with equal = "seconds" each column's own does.

    outside: columns that were made elsewhere and are measured here; a study of these alone trains
    nothing, and its budget says nothing. question: what the study's marks answer.
    """

    later = ("outside", "question")

    name: str
    data: DataSettings
    columns: tuple[Column, ...]
    baseline: str
    budget: Budget
    base: str | None = None
    equal: Literal["images", "seconds"] = "seconds"
    blocks: Annotated[int, Field(gt=0, le=1000)] = 5
    added_blocks: Annotated[int, Field(ge=0, le=1000)] = 0
    looks: tuple[int, ...] | None = None
    first_seed: Annotated[int, Field(ge=0, le=MOST_SEED)] = 0
    network: AnyNetwork = Network()
    optimiser: Optimiser = Optimiser()
    evaluation: Evaluation = Evaluation()
    trials: Trials = Trials()
    device: Annotated[str, AfterValidator(_auto_or_device)] = "cpu"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    workers: Positive | None = None
    threads: Positive = 1
    processes: Positive = 1
    gradient_checkpointing: bool = False
    outside: tuple[OutsideColumn, ...] = ()
    question: Question = "methods"

    @model_validator(mode="before")
    @classmethod
    def _nothing_to_train(cls, given: Any) -> Any:
        """Where all columns come from elsewhere, neither columns nor a budget need be written."""
        if not isinstance(given, dict):
            return given
        settings = cast(dict[str, Any], given)
        if settings.get("outside") and not settings.get("columns"):
            return {"columns": (), "budget": {"images": 1}, "equal": "images", **settings}
        return settings

    @model_validator(mode="after")
    def _columns_fit(self) -> Self:
        ids = [column.id for column in (*self.columns, *self.outside)]
        if not ids:
            raise ValueError("no columns: a study has at least one, its own or an outside one")
        if self.question == "checkpoints":
            self._one_run_each()
        if twice := {i for i in ids if ids.count(i) > 1}:
            raise ValueError(f"the column '{twice.pop()}' is there twice")
        if self.baseline not in ids:
            raise ValueError(f"the baseline '{self.baseline}' is none of the columns")
        for column in self.columns if len(ids) > 1 else ():
            if shared := SHARED & column.overrides.keys():
                raise ValueError(
                    f"the column '{column.id}' overrides {min(shared)}, which all columns share; "
                    f"change it for the whole study"
                )
        if self.budget.images is not None and self.equal == "seconds":
            raise ValueError('a budget in images is equal in images: write equal = "images"')
        if self.looks is not None:
            if wrong := wrong_looks(self.looks):
                raise ValueError(wrong)
            if self.blocks > self.looks[0] and self.blocks not in self.looks:
                raise ValueError(
                    f"blocks = {self.blocks} is none of the looks; "
                    f"marks are made at {', '.join(map(str, self.looks))} blocks"
                )
        return self

    def _one_run_each(self) -> None:
        if self.columns:
            raise ValueError(
                'question = "checkpoints" is about models that were made elsewhere; '
                "columns that are trained here are repeated: leave it out"
            )
        if several := [column.id for column in self.outside if column.places > 1]:
            raise ValueError(
                f"the column '{several[0]}' has several runs, and question = \"checkpoints\" is "
                "about one run each; give one, or leave the question out"
            )
        if self.blocks != GROUPS:
            raise ValueError(f'question = "checkpoints" has blocks = {GROUPS}: groups of images')

    @property
    def planned(self) -> tuple[int, ...]:
        """After how many blocks marks are made."""
        return self.looks or planned_looks(self.blocks)

    @property
    def all_blocks(self) -> range:
        """Block numbers from 1, planned ones first, then added ones."""
        return range(1, self.blocks + self.added_blocks + 1)

    def choices(self, column: Column) -> Choices:
        """The column's five choices; UserError where the method is a card without a runner."""
        return choices_of(find(column.method))

    @classmethod
    def from_toml(cls, path: Path | str) -> Self:
        """Read a study; a wrong key, type or method is a UserError that names it."""
        return cls.checked(read_toml(path), str(path))

    @classmethod
    def checked(cls, settings: dict[str, Any], source: str) -> Self:
        """Check settings that came from `source`; every column's method is looked up too."""
        try:
            study = cls.model_validate(settings)
        except ValidationError as error:
            raise UserError(f"{source}: {first_problem(error)}") from None
        for column in study.outside:
            if column.method is not None:
                find(column.method)
        for column in study.columns:
            if study.choices(column).start == "base" and study.base is None:
                raise UserError(
                    f"{source}: the column '{column.id}' starts from a base; give one with --base."
                )
        return study
