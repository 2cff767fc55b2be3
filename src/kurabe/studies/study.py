"""A study: columns × blocks of seeds under one fair budget, in one editable TOML file.

Block k gives every column the same seed, hence the same train/validation draw, data order,
starting noise and label draws, and a fresh initialisation. A study adds no arithmetic of its own:
`Study.recipe` writes out one run's recipe, and everything measured follows from recipes.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import Field, ValidationError, model_validator

from kurabe.errors import UserError
from kurabe.files import write_text_atomic
from kurabe.methods import Choices, choices_of, find
from kurabe.recipe import (
    Budget,
    DataSettings,
    Evaluation,
    Network,
    Optimiser,
    Positive,
    Recipe,
    Settings,
    first_problem,
    read_toml,
)
from kurabe.studies.precision import usual_dtype
from kurabe.studies.state import StudyState
from kurabe.words import short_name

# Learning-rate trials draw their seeds from here on, far above any block's.
TRIAL_SEEDS = 1_000_000

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.×_-]*$")]

_HEADER = """\
# A study of Kurabe. Edit it before its runs start; afterwards only add columns or blocks.
#   kurabe study {name}                  runs it, and goes on where it stopped
#   kurabe study {name} --add METHOD     fills one more column
# blocks are planned beforehand; added_blocks were added after a look at the results.
# A budget in seconds is turned into images for each block, by the speeds kept in study.json.

"""


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
    has `share` of the column's budget. Where any column's best rate lies at an end of its grid,
    every column gets a further trial, at most `more` times.
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


class Study(Settings):
    """Columns × blocks. `equal` says which budget every column gets alike: images or seconds.

    With a budget in seconds and equal = "images", the baseline column's calibrated speed turns
    the seconds into images for all columns; with equal = "seconds" each column's own does.
    """

    name: str
    data: DataSettings
    columns: Annotated[tuple[Column, ...], Field(min_length=1)]
    baseline: str
    budget: Budget
    base: str | None = None
    equal: Literal["images", "seconds"] = "seconds"
    blocks: Annotated[int, Field(gt=0, le=1000)] = 5
    added_blocks: Annotated[int, Field(ge=0, le=1000)] = 0
    first_seed: Annotated[int, Field(ge=0, lt=TRIAL_SEEDS // 2)] = 0
    network: Network = Network()
    optimiser: Optimiser = Optimiser()
    evaluation: Evaluation = Evaluation()
    trials: Trials = Trials()
    device: str = "cpu"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    workers: Positive | None = None
    threads: Positive = 1

    @model_validator(mode="after")
    def _columns_fit(self) -> Self:
        ids = [column.id for column in self.columns]
        if twice := {i for i in ids if ids.count(i) > 1}:
            raise ValueError(f"the column '{twice.pop()}' is there twice")
        if self.baseline not in ids:
            raise ValueError(f"the baseline '{self.baseline}' is none of the columns")
        if self.budget.images is not None and self.equal == "seconds":
            raise ValueError('a budget in images is equal in images: write equal = "images"')
        return self

    @property
    def all_blocks(self) -> range:
        """Block numbers from 1, planned ones first, then added ones."""
        return range(1, self.blocks + self.added_blocks + 1)

    @property
    def speed_key(self) -> str:
        """A digest of the settings that a column's images per second depend on."""
        where = self.device, self.dtype, self.threads, self.workers
        batch = self.optimiser.batch, self.optimiser.micro_batch
        told = self.data.size, self.data.channels, self.network.model_dump(), batch, where
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def column(self, column_id: str) -> Column:
        """The column of that id; KeyError if there is none."""
        return next(c for c in self.columns if c.id == column_id)

    def choices(self, column: Column) -> Choices:
        """The column's five choices; UserError where the method is a card without a runner."""
        return choices_of(find(column.method))

    def short_names(self, lang: str) -> dict[str, str]:
        """Each column's name where room is short, by its id; the id where two would be alike."""
        names: dict[str, str] = {}
        for column in self.columns:
            card = find(column.method).card
            names[column.id] = short_name(card.id, card.name.of(lang), column.budget_factor, lang)
        shown = list(names.values())
        return {k: k if shown.count(name) > 1 else name for k, name in names.items()}

    def trained(self, column: Column) -> bool:
        """Whether the column trains at all; the untouched base does not."""
        return self.choices(column).trains

    def searched(self, column: Column) -> bool:
        """Whether learning rates are tried for the column: it trains, and names none itself."""
        named = "lr" in column.overrides.get("optimiser", {})
        return self.trials.count > 0 and self.trained(column) and not named

    def recipe(self, column: Column, block: int, state: StudyState) -> Recipe:
        """The recipe of one run, its budget in images; UserError where a setting is wrong."""
        images = self.images(column, state, block)
        return self._recipe(column, self.first_seed + block - 1, state, images, {})

    def trial(self, column: Column, lr: float, state: StudyState) -> Recipe:
        """The recipe of one learning-rate trial."""
        overrides = {"optimiser": {"lr": lr}}
        seed = TRIAL_SEEDS + self.first_seed
        images = self.images(column, state) * self.trials.share
        return self._recipe(column, seed, state, images, overrides)

    def default_lr(self, column: Column) -> float:
        """The learning rate that the method declares, or the study's."""
        return self.choices(column).optimiser.lr or self.optimiser.lr

    def _recipe(
        self,
        column: Column,
        seed: int,
        state: StudyState,
        images: float,
        overrides: dict[str, Any],
    ) -> Recipe:
        choices = self.choices(column)
        # A study that begins has settled what "auto" means and written it down.
        dtype = usual_dtype(self.device) if self.dtype == "auto" else self.dtype
        found = state.learning_rates.get(column.id)
        own = choices.optimiser.model_dump(mode="json", exclude_none=True)
        settings: dict[str, Any] = {
            "method": find(column.method).id,
            "choices": choices.model_dump(mode="json"),
            "data": self.data.model_dump(mode="json"),
            "base": self.base if choices.start == "base" else None,
            "budget": {"images": max(1, round(images))},
            "network": self.network.model_dump(mode="json"),
            "optimiser": merged(self.optimiser.model_dump(mode="json"), own),
            "evaluation": self.evaluation.model_dump(mode="json"),
            "seed": seed,
            "where": {"device": self.device, "dtype": dtype, "threads": self.threads},
        }
        if found is not None:
            settings["optimiser"]["lr"] = found.lr
        settings = merged(merged(settings, overrides), column.overrides)
        return Recipe.checked(settings, f"{self.name}, column '{column.id}'")

    def images(self, column: Column, state: StudyState, block: int = 0) -> float:
        """The column's budget in images; needs the calibration where it is given in seconds.

        block: whose speeds count, where they are settled.
        """
        if self.budget.images is not None:
            return self.budget.images * column.budget_factor
        assert self.budget.seconds is not None
        source = column.id if self.equal == "seconds" else self.baseline
        rates = {**state.rates, **state.settled.get(block, {})}
        rate = rates.get(source) or rates.get(column.id)
        if rate is None:
            # The untouched base sees no image; any budget stands for none.
            return 1
        return rate * self.budget.seconds * column.budget_factor

    def with_column(self, column_id: str, method: str) -> "Study":
        """The study with one more column at the end."""
        columns = [c.model_dump() for c in self.columns] + [{"id": column_id, "method": method}]
        return self.changed(columns=columns)

    def changed(self, **values: Any) -> "Study":
        """The study with other values, checked like a file."""
        return Study.checked({**self.model_dump(mode="json"), **values}, self.name)

    def to_toml(self) -> str:
        """The study as TOML text; `from_toml` of it gives an equal study."""
        values = self.model_dump(mode="json", exclude_none=True)
        tables = {k: v for k, v in values.items() if isinstance(v, dict)}
        plain = {k: v for k, v in values.items() if k not in tables and k != "columns"}
        text = tomli_w.dumps({**plain, **tables})
        for column in values["columns"]:
            text += "\n[[columns]]\n" + tomli_w.dumps(
                {k: v for k, v in column.items() if k != "overrides"}
            )
            if column["overrides"]:
                text += _nested(column["overrides"])
        return re.sub(r"\[\n((?:    [^\n]*,\n)+)\]", _inline, text)

    def save(self, path: Path) -> None:
        """Write `study.toml`, replaced whole."""
        write_text_atomic(path, _HEADER.format(name=path.parent.name) + self.to_toml())

    @classmethod
    def from_toml(cls, path: Path | str) -> "Study":
        """Read a study; a wrong key, type or method is a UserError that names it."""
        return cls.checked(read_toml(path), str(path))

    @classmethod
    def checked(cls, settings: dict[str, Any], source: str) -> "Study":
        """Check settings that came from `source`; every column's method is looked up too."""
        try:
            study = cls.model_validate(settings)
        except ValidationError as error:
            raise UserError(f"{source}: {first_problem(error)}") from None
        for column in study.columns:
            if study.choices(column).start == "base" and study.base is None:
                raise UserError(
                    f"{source}: the column '{column.id}' starts from a base; give one with --base."
                )
        return study


def merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Settings with changes laid over them, table by table."""
    result = dict(settings)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def parse_budget(text: str) -> Budget:
    """A budget as people write it: 90s, 5min, 1h, 5000img, 200kimg, 1.5Mimg.

    UserError for anything else, and for zero.
    """
    factors = {"s": 1, "min": 60, "h": 3600, "img": 1, "kimg": 1e3, "mimg": 1e6}
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(s|min|h|img|kimg|mimg)", text.strip().lower())
    if match is None:
        raise UserError(f"--budget {text}: write it like 90s, 5min, 1h, 5000img or 200kimg.")
    amount = float(match[1]) * factors[match[2]]
    if amount <= 0:
        raise UserError(f"--budget {text}: a budget must be above zero, like 5min or 200kimg.")
    try:
        if match[2].endswith("img"):
            return Budget(images=max(1, round(amount)))
        return Budget(seconds=amount)
    except (ValidationError, OverflowError):
        shown = text if len(text) <= 20 else f"{text[:19]}…"
        raise UserError(f"--budget {shown}: a budget is at most 1e9 s or 1e12 img.") from None


def _nested(overrides: dict[str, Any]) -> str:
    """A column's overrides as TOML below its [[columns]] head."""
    text = tomli_w.dumps({"columns": {"overrides": overrides}})
    return "\n" + text.removeprefix("[columns]\n").lstrip("\n")


def _inline(array: re.Match[str]) -> str:
    """A short array on one line, as a person would write it."""
    return "[" + ", ".join(item.strip(" ,") for item in array[1].splitlines()) + "]"
