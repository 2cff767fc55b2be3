"""From runs as numbers to a study's folder: declared metrics, blocks by seed, a record a run.

What was written is never replaced: the same source again adds runs that are new, and is refused
where a run has other values now. No torch.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from kurabe.errors import UserError
from kurabe.files import write_text_atomic
from kurabe.numbers_settings import NumbersSettings
from kurabe.outside.numbers import NumberRun, blocks_of
from kurabe.outside.trackers import read_runs
from kurabe.recipe import read_toml
from kurabe.records import RunFolder, StudyFolder
from kurabe.records.run import now
from kurabe.records.types import Score

_HEADER = """\
# A study of numbers. Metrics were declared before any mark: which way is better, and the width
# inside which two values are alike (margin, or relative, a share of the smaller of two means).
#   kurabe numbers {source} --out FOLDER   adds what is new

"""
Block = tuple[str, int]


def write_study(
    source: str,
    metrics: Sequence[dict[str, Any]] = (),
    baseline: str | None = None,
    out: Path | None = None,
) -> StudyFolder:
    """The study of a source's runs, in its folder; begun, or gone on with what is new.

    metrics: declared ones; of a study that was begun its own count. UserError where a metric has
    no direction, no run has a metric, or what was written would become another.
    """
    runs = blocks_of(read_runs(source), source)
    names = {of: _slug(of) for of in dict.fromkeys(column for column, _ in runs)}
    if len(set(names.values())) < len(names):
        raise UserError(f"{source}: two columns differ in signs alone; rename one of them.")
    folder = StudyFolder(
        out or Path(f"{_slug(Path(source.partition(':')[2] or source).stem)}-study")
    )
    settings = (
        _continued(folder, names, metrics, runs)
        if folder.exists
        else _begun(folder, source, names, metrics, baseline, runs)
    )
    _check_measured(settings, runs, source)
    _check_unchanged(folder, settings, names, runs)
    folder.path.mkdir(parents=True, exist_ok=True)
    text = tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True))
    write_text_atomic(folder.study_path, _HEADER.format(source=source) + text)
    for (column, block), run in runs.items():
        _record(folder.run(names[column], block), settings, run, names[column], block, source)
    return folder


def _begun(
    folder: StudyFolder,
    source: str,
    names: Mapping[str, str],
    metrics: Sequence[dict[str, Any]],
    baseline: str | None,
    runs: Mapping[Block, NumberRun],
) -> NumbersSettings:
    if not metrics:
        there = list(dict.fromkeys(name for run in runs.values() for name in run.values))
        raise UserError(
            f"{source} has {', '.join(there[:8])}{' …' if len(there) > 8 else ''}; say which of "
            f'them to compare and which way is better: --metric "{there[0] if there else "x"}=up".'
        )
    columns = [_column(name, slug, runs) for name, slug in names.items()]
    first = baseline if baseline is None else names.get(baseline, baseline)
    settings = {
        "name": folder.name.removesuffix("-study"),
        "numbers": source,
        "baseline": first or columns[0]["id"],
        "blocks": max(block for _, block in runs),
        "metrics": list(metrics),
        "columns": columns,
    }
    return NumbersSettings.checked(settings, source)


def _column(name: str, slug: str, runs: Mapping[Block, NumberRun]) -> dict[str, Any]:
    method = next((run.method for run in runs.values() if run.column == name and run.method), None)
    own = {"name": name} if name != slug else {}
    return {"id": slug, **own, **({"method": method} if _is_card(method) else {})}


def _is_card(method: str | None) -> bool:
    from kurabe.methods import catalogue

    return method in catalogue()


def _continued(
    folder: StudyFolder,
    names: Mapping[str, str],
    metrics: Sequence[dict[str, Any]],
    runs: Mapping[Block, NumberRun],
) -> NumbersSettings:
    settings = NumbersSettings.checked(read_toml(folder.study_path), str(folder.study_path))
    asked = [settings.metrics[0].model_validate(one) for one in metrics]
    if other := [one.id for one in asked if one not in settings.metrics]:
        raise UserError(
            f"{folder.path} was begun with other metrics or margins than {other[0]} has now; "
            "what is declared after a look is no declaration: begin anew with --out."
        )
    known = {column.id for column in settings.columns}
    more = [_column(name, slug, runs) for name, slug in names.items() if slug not in known]
    if not more:
        return settings
    values = settings.model_dump(mode="json")
    return settings.checked({**values, "columns": [*values["columns"], *more]}, str(folder.path))


def _check_measured(
    settings: NumbersSettings, runs: Mapping[Block, NumberRun], source: str
) -> None:
    for metric in settings.metrics:
        if not any(metric.id in run.values for run in runs.values()):
            there = sorted({name for run in runs.values() for name in run.values})
            raise UserError(
                f"{source}: no run has a metric '{metric.id}'; there is {', '.join(there[:12])}."
            )
        if metric.scale == "log" and any(
            run.values.get(metric.id, 1.0) <= 0 for run in runs.values()
        ):
            raise UserError(
                f"{source}: {metric.id} is not above zero everywhere, as logarithms are."
            )


def _check_unchanged(
    folder: StudyFolder,
    settings: NumbersSettings,
    names: Mapping[str, str],
    runs: Mapping[Block, NumberRun],
) -> None:
    begun = folder.runs()
    for (column, block), run in runs.items():
        old = begun.get((names[column], block))
        if old is None or old.status != "finished":
            continue
        values = {k: v.get("value") for k, v in old.score("scores").get("metrics", {}).items()}
        if values != _values(settings, run):
            raise UserError(
                f"{column}, seed {run.seed} has other values now than when {old.path} was "
                "written; begin anew with --out."
            )


def _values(settings: NumbersSettings, run: NumberRun) -> dict[str, float]:
    wanted = [metric.id for metric in settings.metrics]
    return {name: run.values[name] for name in wanted if name in run.values}


def _record(
    folder: RunFolder,
    settings: NumbersSettings,
    run: NumberRun,
    column: str,
    block: int,
    source: str,
) -> None:
    """The run as a record that tables read."""
    if folder.exists and folder.status == "finished":
        return
    if not folder.exists:
        read = {"column": run.column, "block": block, "source": source}
        recipe = read if run.seed is None else {**read, "seed": run.seed}
        folder.create(tomli_w.dumps({"numbers": recipe}), {"id": f"{column}-{block}"})
    folder.update(
        study=settings.name,
        column=column,
        block=block,
        seed=run.seed,
        method=run.method,
        finished=now(),
        status="failed" if run.error else "finished",
        error=run.error,
    )
    if not run.error:
        values = _values(settings, run)
        metrics: dict[str, Score] = {name: {"value": value} for name, value in values.items()}
        folder.write_scores("scores", {"schema": 1, "metrics": metrics})


def _slug(name: str) -> str:
    """A column's id from what a source calls it."""
    text = re.sub(r"[^a-z0-9.×_]+", "-", name.lower()).strip("-._")
    return text or "column"
