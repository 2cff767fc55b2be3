"""Runs as trackers keep them, read from their files: MLflow, trackio, W&B's export, PEFT's results.

- `mlflow:PATH`: a file store (EXPERIMENT/RUN/meta.yaml, params/, tags/, metrics/NAME with lines
  "time value step"), or its SQLite file (runs, params, tags, latest_metrics).
- `trackio:PATH`: a project's SQLite file (metrics: run_name, step, metrics as JSON; configs).
- `wandb:PATH`: the CSV that the page of runs exports (Name, State, Group, configuration, summary).
- PATH of a folder with PEFT's method_comparison results (run_info, train_info, meta_info).

Of a metric the last value counts. A column is the run's `kurabe.column`, `method` or `group`, else
its name without a seed at the end; the seed its `seed`. No tracker is imported, no YAML either.
"""

import json
import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from kurabe.errors import UserError
from kurabe.outside.numbers import FAILED, NumberRun, numbers, read_table, runs_of_rows

# MLflow's RunStatus in meta.yaml and in the database.
_STATES = {"1": "running", "2": "scheduled", "3": "finished", "4": "failed", "5": "killed"}
_PEFT = ("run_info", "train_info")


def read_runs(source: str) -> list[NumberRun]:
    """The runs of a source; UserError where there are none, or it cannot be read as what it is."""
    kind, colon, place = source.partition(":")
    readers = {"mlflow": _mlflow, "trackio": _trackio, "wandb": lambda path: read_table(path)}
    if colon and kind in readers:
        path = Path(place).expanduser()
        if not path.exists():
            raise UserError(f"{place} does not exist.")
        runs = readers[kind](path)
    else:
        path = Path(source).expanduser()
        if not path.exists():
            raise UserError(f"{source} does not exist.")
        runs = _peft(path) if path.is_dir() else read_table(path)
    if not runs:
        raise UserError(f"{source} holds no runs.")
    return runs


def _peft(folder: Path) -> list[NumberRun]:
    """PEFT's method comparison: a JSON file a run, its test metrics in the last entry."""
    found: list[NumberRun] = []
    for path in sorted(folder.rglob("*.json")):
        try:
            record = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            raise UserError(f"{path} is not JSON.") from None
        if not isinstance(record, dict) or not all(part in record for part in _PEFT):
            continue
        run, train = (cast(dict[str, Any], record[part]) for part in _PEFT)
        seed = (run.get("train_config") or {}).get("seed")
        name = str(run.get("experiment_name") or path.stem)
        if str(train.get("status", "success")).lower() != "success":
            error = str(run.get("error_msg") or train.get("status"))
            found.append(NumberRun(name, seed, error=error))
            continue
        values = {key: value for key, value in train.items() if key not in ("status", "metrics")}
        for entry in train.get("metrics") or ():
            values |= {key: value for key, value in entry.items() if key != "step"}
        values |= {"total_time": run.get("total_time")}
        found.append(NumberRun(name, seed, numbers(values, str(path))))
    return found


def _mlflow(path: Path) -> list[NumberRun]:
    rows = _mlflow_files(path) if path.is_dir() else _mlflow_database(path)
    return runs_of_rows(rows, str(path))


def _mlflow_files(folder: Path) -> Iterable[dict[str, Any]]:
    for meta in sorted(folder.rglob("meta.yaml")):
        run = meta.parent
        if not (run / "metrics").is_dir():
            continue
        lines = (line.partition(":") for line in meta.read_text("utf-8").splitlines())
        facts = {key.strip(): value.strip().strip("'\"") for key, _, value in lines}
        if facts.get("lifecycle_stage") == "deleted":
            continue
        known = _texts(run / "params") | _texts(run / "tags")
        values = {
            file.relative_to(run / "metrics").as_posix(): file.read_text("utf-8").split("\n")
            for file in sorted((run / "metrics").rglob("*"))
            if file.is_file()
        }
        last = {name: [x for x in of if x.strip()][-1].split()[1] for name, of in values.items()}
        name = facts.get("run_name") or known.get("mlflow.runName") or run.name
        yield _row(name, known, last, _STATES.get(facts.get("status", "3"), "finished"))


def _texts(folder: Path) -> dict[str, str]:
    files = folder.rglob("*") if folder.is_dir() else ()
    return {f.relative_to(folder).as_posix(): f.read_text("utf-8") for f in files if f.is_file()}


def _mlflow_database(path: Path) -> Iterable[dict[str, Any]]:
    runs = _query(path, "SELECT run_uuid, name, status FROM runs WHERE lifecycle_stage='active'")
    params = _query(path, "SELECT run_uuid, key, value FROM params")
    tags = _query(path, "SELECT run_uuid, key, value FROM tags")
    values = _query(path, "SELECT run_uuid, key, value FROM latest_metrics")
    for run, name, status in runs:
        known = {key: value for of, key, value in (*params, *tags) if of == run}
        last = {key: value for of, key, value in values if of == run}
        yield _row(name or run, known, last, str(status).lower())


def _trackio(path: Path) -> list[NumberRun]:
    last: dict[str, dict[str, Any]] = {}
    for name, values in _query(path, "SELECT run_name, metrics FROM metrics ORDER BY step, id"):
        last.setdefault(name, {}).update(_object(values))
    tables = {name for (name,) in _query(path, "SELECT name FROM sqlite_master")}
    told = _query(path, "SELECT run_name, config FROM configs") if "configs" in tables else []
    known = {name: _object(config) for name, config in told}
    rows = [_row(name, known.get(name, {}), values, "finished") for name, values in last.items()]
    return runs_of_rows(rows, str(path))


def _row(name: str, known: dict[str, Any], values: dict[str, Any], state: str) -> dict[str, Any]:
    """One run as a row of a table."""
    named = (known.get(key) for key in ("kurabe.column", "column", "method", "group"))
    column = next((str(of) for of in named if of), None)
    at_end = re.fullmatch(r"(.+?)[-_ ./]+(?:seed[-_ =]?|s)(\d+)", name)
    seed = next((known[k] for k in ("kurabe.seed", "seed", "random_seed") if k in known), None)
    return {
        "column": column or (at_end[1] if at_end else name),
        "seed": seed if seed is not None else at_end[2] if at_end else None,
        "status": "failed" if state in FAILED else state,
        "metrics": values,
    }


def _query(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of a SQLite file that is opened to read alone."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as base:
            return base.execute(query).fetchall()
    except sqlite3.Error as error:
        raise UserError(f"{path} is not such a store's SQLite file ({error}).") from None


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return {}
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}
