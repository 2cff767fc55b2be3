"""A study's results as they lie in its folder: per metric, column and block one value."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

from kurabe import bases
from kurabe.comparison.declared import heads_of, metrics_of
from kurabe.comparison.metrics import METRICS, Metric, headlines, runs_of
from kurabe.comparison.read_once import Tried, openings_at, recipe_at, stamp_of, tried_at
from kurabe.comparison.t_tests import Blocks
from kurabe.comparison.table import Estimate, Grid, Pair
from kurabe.comparison.verdicts import Procedure, Verdict, decide, verdicts_of
from kurabe.errors import UserError
from kurabe.methods import Choices
from kurabe.numbers_settings import NumbersSettings
from kurabe.outside_settings import Question
from kurabe.recipe import DataSettings, Recipe, read_toml
from kurabe.records import Info, RunFolder, StudyFolder
from kurabe.study_settings import StudySettings

# scores/scores.json holds a run's own measurement; other files are of other images.
OWN_SCORES = "scores"
LEDGER = "test-openings.jsonl"
# Rows whose n counts test images.
_ON_TEST = ("own-view-recall", "knn", "linear-probe")

Metrics = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class StudyColumn:
    """A column as study.toml declares it; one made elsewhere may be of no method that is known."""

    id: str
    method: str | None
    budget_factor: float = 1.0
    outside: bool = False


@dataclass(frozen=True)
class RunResult:
    """One run: its status, its metrics by id (value, n, references, detail), its record.

    unread: why its record or scores could not be read, where that is so.
    """

    folder: RunFolder
    status: str
    metrics: Metrics
    info: Info
    unread: str | None = None


@dataclass(frozen=True, eq=False)
class StudyResults:
    """Everything a table needs of a study, at one moment: two are never the same.

    Blocks are numbered as the runs' folders are.

    equal: which budget the columns have alike. looks: after how many blocks marks are made.
    tried: the columns whose learning rates were tried.
    place: how commands name the study's folder; what is shared names no place on this machine.
    estimates, pairs, grids: what tables made of the runs so far, by metric and column, by metric,
        and by column and block; the columns that a table shows do not change them.
    """

    folder: StudyFolder
    name: str
    columns: tuple[StudyColumn, ...]
    baseline: str
    blocks: int
    workers: int
    budget: Mapping[str, Any]
    training_images: int | None
    equal: str = "seconds"
    looks: tuple[int, ...] = (5,)
    tried: Mapping[str, Tried] = field(default_factory=dict[str, Tried])
    runs: Mapping[tuple[str, int], RunResult] = field(
        default_factory=dict[tuple[str, int], RunResult]
    )
    place: str = ""
    estimates: dict[tuple[str, str], Estimate | None] = field(default_factory=dict)
    pairs: dict[str, tuple[Pair, ...]] = field(default_factory=dict)
    grids: dict[tuple[str, int], Grid | None] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)
    question: Question = "methods"
    metrics: Mapping[str, Metric] = field(default_factory=lambda: METRICS)
    declared_heads: tuple[str, ...] | None = None

    @property
    def command(self) -> str:
        """The command that goes on with the study."""
        return f"kurabe study {shlex.quote(self.place or str(self.folder.path))}"

    @property
    def encoder(self) -> str | None:
        """The encoder whose name belongs to the distances' names."""
        for run in self.runs.values():
            if encoder := run.info.get("encoder"):
                return str(encoder)
        return None

    def of(self, column: str) -> Mapping[int, RunResult]:
        """A column's runs by block."""
        return self._by_column.get(column, {})

    @cached_property
    def _by_column(self) -> dict[str, dict[int, RunResult]]:
        found: dict[str, dict[int, RunResult]] = {}
        for (column, block), run in self.runs.items():
            found.setdefault(column, {})[block] = run
        return found

    @cached_property
    def earlier_bases(self) -> tuple[str, ...]:
        """The shipped bases that runs began from as they were before they were trained anew."""
        shipped = bases.available()
        begun = {(run.info.get("base"), run.info.get("base_commit")) for run in self.runs.values()}
        earlier = {
            str(name)
            for name, commit in begun
            if name in shipped and commit != bases.find(str(name)).info.get("commit")
        }
        return tuple(sorted(earlier))

    @property
    def outside(self) -> bool:
        """Whether any column was made elsewhere."""
        return any(column.outside for column in self.columns)

    def choices(self, column: str) -> Choices | None:
        """What a column's runs chose, by the recipe of the first; None where none can be read."""
        recipe = self.recipe(column)
        return recipe and recipe.choices

    def recipe(self, column: str) -> Recipe | None:
        """The recipe of a column's first run; None where none can be read."""
        paths = (run.folder.recipe_path for run in self.of(column).values())
        found = (recipe_at(path, stamp_of(path)) for path in paths)
        return next((recipe for recipe in found if recipe is not None), None)

    @property
    def test_images(self) -> int | None:
        """How many test images the runs were measured on; None where no record tells."""
        runs = [run for run in self.runs.values() if run.metrics]
        told = [int(n) for run in runs if (n := run.info.get("test_images")) is not None]
        # Records of before this was kept: the most that any row was measured on.
        rows = (run.metrics.get(row, {}).get("n") for run in runs for row in _ON_TEST)
        return max(told, default=max((int(n) for n in rows if n), default=None))

    @property
    def openings(self) -> tuple[int, int]:
        """How often test images were opened, and for how many checkpoints, by the runs' ledgers."""
        paths = [run.folder.path / LEDGER for run in self.runs.values()]
        found = [openings_at(path, stamp_of(path)) for path in paths]
        return sum(map(len, found)), sum(len(set(of)) for of in found)

    def asked_seconds(self, column: str) -> float | None:
        """Seconds of training that a run of the column was to take; None for other budgets."""
        seconds = self.budget.get("seconds")
        if seconds is None or self.equal != "seconds":
            return None
        return float(seconds) * self.factor(column)

    def factor(self, column: str) -> float:
        """The column's multiple of the study's budget."""
        return next((c.budget_factor for c in self.columns if c.id == column), 1.0)

    def values(self, metric: str) -> dict[str, Blocks]:
        """The finished runs' values of a metric by column and block; failed runs have none."""
        return {
            column.id: {
                block: float(value)
                for block, run in self.of(column.id).items()
                if (value := run.metrics.get(metric, {}).get("value")) is not None
            }
            for column in self.columns
        }

    @cached_property
    def measured(self) -> dict[str, dict[str, Blocks]]:
        """`values` of every metric that any run has, in the registry's order."""
        found = {metric: self.values(metric) for metric in self.metrics}
        return {metric: values for metric, values in found.items() if any(values.values())}

    @cached_property
    def headlines(self) -> tuple[str, ...]:
        """The metrics whose rows decide whether two columns differ at all."""
        known = self.declared_heads
        return headlines(runs_of(self.measured)) if known is None else known

    @cached_property
    def verdicts(self) -> dict[str, list[Verdict]]:
        """Each measured metric's verdicts on all pairs of the study's columns."""
        return verdicts_of(self.procedure, self.measured)

    @cached_property
    def procedure(self) -> Procedure:
        """The tests of the whole table, look after look."""
        return decide(
            self.measured,
            self.baseline,
            self._floor_errors(),
            {
                metric: self._images(metric)
                for metric in self.measured
                if self.metrics[metric].share
            },
            self.looks,
            {column.id: self.reached(column.id) for column in self.columns},
            self.metrics,
            self.declared_heads,
        )

    def reached(self, column: str) -> int:
        """Up to which block a column's runs have ended: before the first that goes on."""
        runs = self.of(column)
        goes_on = [block for block, run in runs.items() if run.status not in ("finished", "failed")]
        ended = max(runs, default=0)
        return min(ended, min(goes_on, default=ended + 1) - 1)

    def _images(self, metric: str) -> dict[str, int]:
        """Over how many images each column's values of a share were counted, the fewest of them."""
        few_shot = metric.startswith("few-shot")
        found: dict[str, int] = {}
        for column in self.columns:
            runs = [run.metrics for run in self.of(column.id).values() if metric in run.metrics]
            # The n of few-shot rows are their draws; what they are tried on is what probes are.
            of = [run.get("linear-probe", {}) if few_shot else run[metric] for run in runs]
            counted = [int(entry["n"]) for entry in of if entry.get("n")]
            if counted:
                found[column.id] = min(counted)
        return found

    @cached_property
    def references(self) -> dict[str, dict[str, float]]:
        """By metric, what its value would be without any of the methods: each mean over runs."""
        found: dict[str, dict[str, list[float]]] = {}
        for run in self.runs.values():
            for metric, entry in run.metrics.items():
                values: dict[str, Any] = entry.get("references") or {}
                for name, value in values.items():
                    if value is not None:
                        found.setdefault(metric, {}).setdefault(name, []).append(float(value))
        return {
            metric: {name: math.fsum(means) / len(means) for name, means in names.items()}
            for metric, names in found.items()
        }

    def _floor_errors(self) -> dict[str, float]:
        """The mean standard error of each real-against-real floor that the runs know."""
        found: dict[str, list[float]] = {}
        for run in self.runs.values():
            for metric, entry in run.metrics.items():
                if (error := entry.get("detail", {}).get("floor_se")) is not None:
                    found.setdefault(metric, []).append(float(error))
        return {metric: sum(errors) / len(errors) for metric, errors in found.items()}

    def added_blocks(self) -> tuple[int, ...]:
        """Blocks beyond those that were planned beforehand."""
        found = sorted({block for _, block in self.runs})
        return tuple(block for block in found if block > self.blocks)

    def added_columns(self) -> tuple[str, ...]:
        """Columns that were filled after others had been measured."""
        return tuple(
            column.id
            for column in self.columns
            if (runs := self.of(column.id)) and all(run.info.get("added") for run in runs.values())
        )

    def seconds_per_block(self) -> float | None:
        """How long one more block of all columns takes, by the runs so far."""
        total = 0.0
        for column in self.columns:
            seconds = [
                float(run.info.get("seconds") or 0) + float(run.info.get("beside_seconds") or 0)
                for run in self.of(column.id).values()
                if run.status == "finished"
            ]
            total += sum(seconds) / len(seconds) if seconds else 0.0
        return total / self.workers if total else None

    @property
    def unread(self) -> tuple[str, ...]:
        """A sentence for every run whose record or scores could not be read, and for every picture
        that a table made of the runs so far had to do without."""
        return (*(run.unread for run in self.runs.values() if run.unread), *self.without)


def read_results(folder: StudyFolder) -> StudyResults:
    """Read study.toml and every run below it; UserError where there is no study."""
    settings = read_settings(folder)
    if isinstance(settings, NumbersSettings):
        return _numbers(folder, settings)
    columns = (
        *(StudyColumn(c.id, c.method, c.budget_factor) for c in settings.columns),
        *(StudyColumn(c.id, c.method, outside=True) for c in settings.outside),
    )
    runs = {key: _run(run) for key, run in folder.runs().items()}
    return StudyResults(
        folder,
        settings.name,
        columns,
        settings.baseline,
        settings.blocks,
        settings.workers or _cores(runs),
        settings.budget.model_dump(exclude_none=True) if settings.columns else {},
        _training_images(settings.data, runs),
        settings.equal,
        settings.planned,
        tried_at(folder.state_path),
        runs,
        question=settings.question,
    )


def _numbers(folder: StudyFolder, settings: NumbersSettings) -> StudyResults:
    """A study of numbers: its metrics are declared, and nothing was trained or measured here."""
    runs = {key: _run(run) for key, run in folder.runs().items()}
    return StudyResults(
        folder,
        settings.name,
        tuple(StudyColumn(c.id, c.method, outside=True) for c in settings.columns),
        settings.baseline,
        settings.blocks,
        1,
        {},
        None,
        looks=settings.planned,
        runs=runs,
        metrics=metrics_of(settings),
        declared_heads=heads_of(settings),
    )


def _training_images(data: DataSettings, runs: Mapping[tuple[str, int], RunResult]) -> int | None:
    """How many images a run learns from; what the settings ask for where no record tells."""
    for run in runs.values():
        if (known := run.info.get("training_images")) is not None:
            return int(known)
    return round(data.limit * data.fractions[0]) if data.limit else None


def read_settings(folder: StudyFolder) -> StudySettings | NumbersSettings:
    """study.toml, checked as the command that runs it does; UserError where it is wrong."""
    if not folder.exists:
        raise UserError(
            f"{folder.path} is not a study's folder: study.toml is missing; give another one."
        )
    settings = read_toml(folder.study_path)
    kind = NumbersSettings if "numbers" in settings else StudySettings
    return kind.checked(settings, str(folder.study_path))


def _run(folder: RunFolder) -> RunResult:
    files = (folder.info_path, folder.scores_path / f"{OWN_SCORES}.json")
    try:
        info, metrics = _record(folder.path, tuple(stamp_of(file) for file in files))
        return RunResult(folder, folder.status_of(info), metrics, info)
    except UserError as error:
        # What cannot be read is shown as failed, never dropped.
        return RunResult(folder, "failed", {}, {"error": str(error)}, unread=str(error))


@lru_cache(maxsize=2048)
def _record(path: Path, stamps: Sequence[object]) -> tuple[Info, Metrics]:
    """A run's record, and its own metrics where it finished; kept while its files are these."""
    folder = RunFolder(path)
    info = folder.info
    if info.get("status") != "finished":
        return info, {}
    scores = folder.score(OWN_SCORES)
    return {**info, "encoder": scores.get("encoder")}, cast(Metrics, scores.get("metrics", {}))


def _cores(runs: Mapping[tuple[str, int], RunResult]) -> int:
    for run in runs.values():
        cores = (run.info.get("hardware") or {}).get("cores")
        if cores:
            return int(cores)
    return 1
