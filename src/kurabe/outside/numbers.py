"""Runs that others trained and measured, read as numbers: one run is a column, a seed and values.

Tables (CSV, JSON, JSON Lines; wide with a column for each metric, or long with `metric` and
`value`), and what trackers keep (`kurabe.outside.trackers`). Nothing is unpickled, no tracker is
imported, and what a source says twice, not at all or as NaN is an error that names it. No torch.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from kurabe.errors import UserError, refusal, shown

COLUMN, SEED, METRIC, VALUE, STATUS, METHOD = (
    "column", "seed", "metric", "value", "status", "method",
)  # fmt: skip
# Of one meaning under other tools' names, the first that is there.
COLUMNS = (COLUMN, "group", METHOD, "name", "run", "run_name")
SEEDS = (SEED, "random_seed", "kurabe.seed")
# States in which a run's numbers are not its last ones.
UNFINISHED = frozenset({"running", "pending", "scheduled", "planned"})
FAILED = frozenset({"failed", "crashed", "killed", "error"})


@dataclass(frozen=True)
class NumberRun:
    """One run's numbers: its column, seed (None where none is known), values by metric, and why it
    has none where it failed."""

    column: str
    seed: int | None
    values: Mapping[str, float] = field(default_factory=dict[str, float])
    method: str | None = None
    error: str | None = None


def read_table(path: Path) -> list[NumberRun]:
    """The runs of a CSV, JSON or JSON Lines file; UserError where it is none of runs."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(str(refusal(error))) from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; save it as UTF-8.") from None
    ending = path.suffix.lower()
    if ending == ".csv":
        rows = _csv_rows(text)
    elif ending in (".json", ".jsonl"):
        rows = _json_rows(path, text)
    else:
        raise UserError(f"{path} is no table of runs: give .csv, .json or .jsonl.")
    return runs_of_rows(rows, str(path))


def _csv_rows(text: str) -> Iterable[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text))
    for row in reader:
        yield {key.strip(): cell for key, cell in row.items() if key and cell not in (None, "")}


def _json_rows(path: Path, text: str) -> Iterable[dict[str, Any]]:
    lines = text.splitlines() if path.suffix == ".jsonl" else [text]
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            raise UserError(f"{path}, line {number} is not JSON.") from None
        if isinstance(value, dict) and isinstance(value.get("runs"), list):
            value = value["runs"]
        for row in value if isinstance(value, list) else [value]:
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number}: a run is a JSON object.")
            yield cast(dict[str, Any], row)


def runs_of_rows(rows: Iterable[dict[str, Any]], source: str) -> list[NumberRun]:
    """Rows as runs: `metrics` as an object, or metric and value, or a column for each metric."""
    found: dict[tuple[str, int | None], dict[str, Any]] = {}
    errors: dict[tuple[str, int | None], str] = {}
    methods: dict[str, str] = {}
    for place, row in enumerate(rows, 1):
        where = f"{source}, run {place}"
        row = {key.lower() if key.lower() in _KNOWN else key: cell for key, cell in row.items()}
        named = next((row[key] for key in COLUMNS if row.get(key)), None)
        if named is None:
            raise UserError(f"{where} has no column: name it in '{COLUMN}'.")
        seed = _seed(next((row[key] for key in SEEDS if row.get(key) is not None), None), where)
        state = str(row.get(STATUS, row.get("state", "finished"))).lower()
        if state in UNFINISHED:
            raise UserError(f"{where} ({named}) is still {state}; read it when it has ended.")
        key = str(named), seed
        if state in FAILED:
            errors[key] = state
        if isinstance(row.get(METHOD), str):
            methods[key[0]] = row[METHOD]
        if METRIC in row and VALUE in row:
            own = {str(row[METRIC]): row[VALUE]}
        elif isinstance(row.get("metrics"), dict):
            own = cast(dict[str, Any], row["metrics"])
        else:
            if key in found:
                raise UserError(f"{where}: there is a run of {named} with seed {seed} already.")
            own = {name: cell for name, cell in row.items() if name not in _KNOWN}
        known = found.setdefault(key, {})
        if twice := own.keys() & known.keys():
            raise UserError(f"{where}: {named}, seed {seed} has {min(twice)} twice.")
        known |= own
    return [
        NumberRun(
            column,
            seed,
            {} if (column, seed) in errors else numbers(values, f"{source}, {column}"),
            methods.get(column),
            errors.get((column, seed)),
        )
        for (column, seed), values in found.items()
    ]


_KNOWN = frozenset({*COLUMNS, *SEEDS, METRIC, VALUE, STATUS, "state", "metrics", "schema",
                    "declared"})  # fmt: skip


def numbers(values: Mapping[str, Any], where: str) -> dict[str, float]:
    """The cells that are numbers; UserError for NaN and infinity. Texts are no measurements."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            continue
        try:
            number = float(value)
        except (ValueError, OverflowError):
            continue
        if not math.isfinite(number):
            raise UserError(f"{where}: {shown(name)} is {value}, which is no measurement.")
        found[name] = number
    return found


def _seed(value: object, where: str) -> int | None:
    if value is None:
        return None
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise UserError(f"{where}: the seed is {shown(value)}, and a seed is a whole number.")
    return int(number)


def blocks_of(runs: Iterable[NumberRun], source: str) -> dict[tuple[str, int], NumberRun]:
    """Runs by column and block: a block is a seed, in rising order over all columns.

    Without any seeds runs are counted, column by column. UserError where some have a seed and some
    have none, or one seed twice.
    """
    every = list(runs)
    without = [run for run in every if run.seed is None]
    if without and len(without) < len(every):
        raise UserError(f"{source}: {without[0].column} has a run without a seed; give all theirs.")
    order = {seed: k for k, seed in enumerate(sorted({run.seed or 0 for run in every}), 1)}
    found: dict[tuple[str, int], NumberRun] = {}
    counted: dict[str, int] = {}
    for run in every:
        counted[run.column] = counted.get(run.column, 0) + 1
        block = counted[run.column] if without else order[run.seed or 0]
        if (run.column, block) in found:
            raise UserError(f"{source}: there are two runs of {run.column} with seed {run.seed}.")
        found[run.column, block] = run
    return found
