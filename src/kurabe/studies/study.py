"""A study: columns × blocks of seeds under one fair budget, in one editable TOML file.

Block k gives every column the same seed, hence the same train/validation draw, data order,
starting noise and label draws, and a fresh initialisation. A study adds no arithmetic of its own:
`Study.recipe` writes out one run's recipe, and everything measured follows from recipes.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from kurabe.errors import UserError
from kurabe.files import write_text_atomic
from kurabe.methods import Choices, find
from kurabe.recipe import Budget, DataSettings, Recipe
from kurabe.runs.precision import settled_device, usual_dtype
from kurabe.studies.state import StudyState
from kurabe.study_settings import TRIAL_SEEDS, Column, StudySettings
from kurabe.words.commands import short_name

_HEADER = """\
# A study of Kurabe. Edit it before its runs start; afterwards only add columns or blocks.
#   kurabe study {name}                  runs it, and goes on where it stopped
#   kurabe study {name} --add METHOD     fills one more column
# blocks are planned beforehand; added_blocks were added after a look at the results.
# A budget in seconds is turned into images for each block, by the speeds kept in study.json.

"""

# What says nothing in a study in which nothing trains.
_TRAINING = frozenset({"columns", "budget", "equal", "trials", "optimiser", "network", "threads"})


class Study(StudySettings):
    """A study as it runs: the recipes of its runs, its columns' budgets and names."""

    @property
    def tested(self) -> DataSettings:
        """The data's settings, with the bases whose training images are not tested.

        A column's own base is one of them, for all columns: they share their test images; so is
        one whose features a column learns to follow, and a checkpoint that is measured here.
        """
        own = (column.overrides.get("base") for column in self.columns)
        followed = (name for column in self.columns for name in self._followed(column))
        given = (place for column in self.outside for place in column.checkpoint)
        named = [self.data.unseen_by or self.base, *own, *followed, *given]
        flat = [name for of in named for name in ([of] if isinstance(of, str) else of or ())]
        bases = tuple(dict.fromkeys(flat))
        unseen = bases if len(bases) > 1 else next(iter(bases), None)
        return self.data.model_copy(update={"unseen_by": unseen})

    @property
    def speed_key(self) -> str:
        """A digest of the settings that a column's images per second depend on."""
        where = self.device, self.dtype, self.threads, self.workers
        # What is usual is no part of the digest, which is older than the choice.
        where += (self.processes,) if self.processes > 1 else ()
        where += ("checkpointed",) if self.gradient_checkpointing else ()
        where += self.data.aspects or ()
        batch = self.optimiser.batch, self.optimiser.micro_batch
        told = self.data.size, self.data.channels, self.network.model_dump(), batch, where
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def column(self, column_id: str) -> Column:
        """The column of that id; KeyError if there is none."""
        return next(c for c in self.columns if c.id == column_id)

    def short_names(self, lang: str) -> dict[str, str]:
        """Each column's name where room is short, by its id; the id where two would be alike."""
        names: dict[str, str] = {column.id: column.id for column in self.outside}
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

    def _followed(self, column: Column) -> tuple[str, ...]:
        """The bases that a column's terms read as encoders."""
        changes = column.overrides.get("choices", {})
        chosen = merged(self.choices(column).model_dump(mode="json"), changes)
        try:
            return Choices.model_validate(chosen).bases_followed
        except ValidationError:
            # What is wrong with it is said where its recipe is checked.
            return ()

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
        device = settled_device(self.device)
        dtype = usual_dtype(device) if self.dtype == "auto" else self.dtype
        found = state.learning_rates.get(column.id)
        own = choices.optimiser.model_dump(mode="json", exclude_none=True)
        settings: dict[str, Any] = {
            "method": find(column.method).id,
            "choices": choices.model_dump(mode="json"),
            "data": self.tested.model_dump(mode="json"),
            "base": self.base if choices.start == "base" else None,
            "budget": {"images": max(1, round(images))},
            "network": self.network.model_dump(mode="json"),
            "optimiser": merged(self.optimiser.model_dump(mode="json"), own),
            "evaluation": self.evaluation.model_dump(mode="json"),
            "seed": seed,
            "where": {
                "device": device,
                "dtype": dtype,
                "threads": self.threads,
                "processes": self.processes,
                "gradient_checkpointing": self.gradient_checkpointing,
            },
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
        outside = values.pop("outside", [])
        if not self.columns:
            values = {k: v for k, v in values.items() if k not in _TRAINING} | {"columns": []}
        tables = {k: v for k, v in values.items() if isinstance(v, dict)}
        plain = {k: v for k, v in values.items() if k not in tables and k != "columns"}
        text = tomli_w.dumps({**plain, **tables})
        for column in values["columns"]:
            text += "\n[[columns]]\n" + tomli_w.dumps(
                {k: v for k, v in column.items() if k != "overrides"}
            )
            if column["overrides"]:
                text += _nested(column["overrides"])
        for column in outside:
            text += "\n[[outside]]\n" + tomli_w.dumps(column)
        return re.sub(r"\[\n((?:    [^\n]*,\n)+)\]", _inline, text)

    def save(self, path: Path) -> None:
        """Write `study.toml`, replaced whole."""
        write_text_atomic(path, _HEADER.format(name=path.parent.name) + self.to_toml())


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
    match = re.fullmatch(
        r"([0-9]*\.?[0-9]+(?:e\+?[0-9]+)?)\s*(s|min|h|img|kimg|mimg)", text.strip().lower()
    )
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
