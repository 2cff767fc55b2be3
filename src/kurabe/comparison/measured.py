"""The measured rows and the sample row of a study: cells, intervals, references, verdicts."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from kurabe.comparison.facts import NOTHING
from kurabe.comparison.metrics import Metric
from kurabe.comparison.numbers import decimals_for, number, spread
from kurabe.comparison.results import RunResult, StudyResults
from kurabe.comparison.t_tests import Blocks, mean_and_variance, t_quantile
from kurabe.comparison.table import BlockValue, Cell, Estimate, Grid, Pair, Reference, Row
from kurabe.comparison.verdicts import Verdict, fewest_images, row_mark
from kurabe.errors import UserError, sentence
from kurabe.methods import find
from kurabe.records.samples import read_grid
from kurabe.words.commands import short_name
from kurabe.words.outside import say
from kurabe.words.table import has_word, joined, word

# How far from the seconds asked for a column may lie before the row says so.
OFF = 0.03


@dataclass(frozen=True)
class Shown:
    """A column of the table: its id there, and the study's column it shows, if it has one."""

    id: str
    method: str | None
    source: str | None


# The same few tables are asked for again and again; results that are read anew are another key.
@lru_cache(maxsize=32)
def measured_rows(results: StudyResults, shown: tuple[Shown, ...], lang: str) -> tuple[Row, ...]:
    """One row for each metric that any run has, in the registry's order."""
    return tuple(
        _metric_row(results.metrics[metric], values, results, shown, lang)
        for metric, values in results.measured.items()
        if any(values.get(column.source or "") for column in shown)
    )


def _metric_row(
    metric: Metric,
    values: Mapping[str, Blocks],
    results: StudyResults,
    shown: Sequence[Shown],
    lang: str,
) -> Row:
    estimates = {
        column.id: _estimate(metric, column.source, values, results) if column.source else None
        for column in shown
    }
    measured = [estimate for estimate in estimates.values() if estimate is not None]
    decimals = metric.decimals
    if decimals is None:
        decimals = decimals_for(estimate.mean / metric.unit for estimate in measured)
    pairs = _pairs(metric, values, results, shown)
    return Row(
        group="measured",
        section=None if metric.section == "declared" else metric.section,
        key=metric.id,
        label=_label(metric, results, lang),
        values=tuple(e.mean if (e := estimates[column.id]) else None for column in shown),
        mark=row_mark([pair.mark for pair in pairs]),
        cells=tuple(
            _cell(metric, estimates[column.id], decimals, results, column, lang) for column in shown
        ),
        better=metric.better,
        unit=metric.unit,
        decimals=decimals,
        note=_note(metric, pairs, results, shown, lang)
        or _asked(metric, estimates, results, shown, lang),
        headline=metric.id in results.headlines,
        references=_references(metric, results.references.get(metric.id, {}), decimals, lang),
        pairs=pairs,
    )


def _estimate(
    metric: Metric, column: str, values: Mapping[str, Blocks], results: StudyResults
) -> Estimate | None:
    key = (metric.id, column)
    if key not in results.estimates:
        results.estimates[key] = _made_estimate(metric, values.get(column, {}), results, column)
    return results.estimates[key]


def _made_estimate(
    metric: Metric, blocks: Blocks, results: StudyResults, column: str
) -> Estimate | None:
    if not blocks:
        return None
    values = list(blocks.values())
    mean = math.fsum(values) / len(values)
    low = high = None
    if len(values) > 1 and metric.scale != "exact":
        _, variance = mean_and_variance(values)
        half = math.sqrt(variance / len(values)) * t_quantile(len(values) - 1)
        low, high = mean - half, mean + half
    late = column in results.added_columns()
    return Estimate(
        mean=mean,
        low=low,
        high=high,
        blocks=tuple(
            BlockValue(block=block, value=value, added=late or block > results.blocks)
            for block, value in sorted(blocks.items())
        ),
        failed=sum(run.status == "failed" for run in results.of(column).values()),
    )


def _cell(
    metric: Metric,
    estimate: Estimate | None,
    decimals: int,
    results: StudyResults,
    column: Shown,
    lang: str,
) -> Cell:
    if estimate is None:
        return _empty(results, column, lang)
    low, high = (None if e is None else e / metric.unit for e in (estimate.low, estimate.high))
    note = word("runs.failed", lang, n=estimate.failed) if estimate.failed else None
    text = spread(estimate.mean / metric.unit, low, high, decimals)
    return Cell(text=text, estimate=estimate, note=note)


def _empty(results: StudyResults, column: Shown, lang: str) -> Cell:
    """Why there is nothing: no run, failed runs, unfinished ones, or a row that does not apply."""
    if column.source is None:
        command = f"{results.command} --add {column.method}"
        return Cell(text=NOTHING, note=word("not-measured", lang), command=command)
    statuses = {run.status for run in results.of(column.source).values()}
    if "finished" in statuses:
        return Cell(text=NOTHING, note=word("not-measured", lang))
    reason = "failed" if "failed" in statuses else "unfinished"
    return Cell(text=NOTHING, note=word(reason, lang), command=results.command)


def _pairs(
    metric: Metric,
    values: Mapping[str, Blocks],
    results: StudyResults,
    shown: Sequence[Shown],
) -> tuple[Pair, ...]:
    """Verdicts over all of the study's columns; those between columns shown come back."""
    ids: dict[str, list[str]] = {}
    for column in shown:
        if column.source is not None:
            ids.setdefault(column.source, []).append(column.id)
    ratio = metric.scale == "log"
    if metric.id not in results.pairs:
        verdicts = results.verdicts[metric.id]
        results.pairs[metric.id] = tuple(_pair(verdict, ratio) for verdict in verdicts)
    return tuple(
        pair
        if (first, second) == (pair.first, pair.second)
        else pair.model_copy(update={"first": first, "second": second})
        for pair in results.pairs[metric.id]
        for first in ids.get(pair.first, ())
        for second in ids.get(pair.second, ())
    )


def _pair(verdict: Verdict, ratio: bool) -> Pair:
    scale: Callable[[float], float] = math.exp if ratio else float
    difference = verdict.difference
    low, high = (None, None) if difference is None else difference.interval()

    def scaled(value: float | None) -> float | None:
        return None if value is None else scale(value)

    return Pair(
        first=verdict.first,
        second=verdict.second,
        family=verdict.family,
        mark=verdict.mark,
        small=verdict.small,
        ratio=ratio,
        difference=scaled(None if difference is None else difference.mean),
        low=scaled(low),
        high=scaled(high),
        p=verdict.p,
        gated=verdict.gated,
        look=verdict.look,
        margin=None if verdict.family == "exact" else scale(verdict.margin),
        smallest_gap=scaled(verdict.smallest_gap),
        blocks=None if difference is None else difference.blocks,
        blocks_needed=verdict.blocks_needed,
        gap=scaled(verdict.gap),
        images=verdict.images,
    )


def _label(metric: Metric, results: StudyResults, lang: str) -> str:
    """The metric's name, with the encoder's in it where one took part."""
    if metric.id == "fd":
        details = (run.metrics.get("fd", {}).get("detail", {}) for run in results.runs.values())
        names = (str(detail.get("name", "")).partition(":")[0] for detail in details)
        if name := next(filter(None, names), None):
            return name
    label, encoder = metric.label(lang), results.encoder
    return f"{label} ({encoder})" if metric.encoder and encoder else label


def _note(
    metric: Metric,
    pairs: Sequence[Pair],
    results: StudyResults,
    shown: Sequence[Shown],
    lang: str,
) -> str | None:
    """Why a row's mark is not what its numbers alone would say."""
    if metric.scale in ("exact", "untested"):
        return word(metric.scale, lang)
    if counted := [pair.images for pair in pairs if pair.images is not None]:
        least = fewest_images(metric, results.looks[-1])
        return word("too-few", lang, n=min(counted), least=least)
    gated = {(pair.first, pair.second) for pair in pairs if pair.gated}
    if gated and row_mark([pair.mark for pair in pairs]) != "≠":
        known = results.metrics
        names = [known[key].label(lang) for key in results.headlines]
        heads = [_pairs(known[k], results.measured[k], results, shown) for k in results.headlines]
        told = {(pair.first, pair.second) for of in heads for pair in of if pair.mark == "≠"}
        key = "gated.open" if gated & told else "gated" if names else "gated.none"
        return word(key, lang, headlines=joined(names or [""], lang))
    return None


def _asked(
    metric: Metric,
    estimates: Mapping[str, Estimate | None],
    results: StudyResults,
    shown: Sequence[Shown],
    lang: str,
) -> str | None:
    """The seconds that were asked for, and which columns took more than 3 % more or less."""
    if metric.id != "seconds" or not results.asked_seconds(results.baseline):
        return None
    off: list[str] = []
    for column in shown:
        estimate, asked = estimates[column.id], results.asked_seconds(column.source or "")
        # The untouched base was asked for nothing.
        if estimate is None or not asked or not estimate.mean:
            continue
        beyond = estimate.mean / asked - 1
        if abs(beyond) > OFF:
            method, factor = find(column.method or ""), results.factor(column.source or "")
            name = short_name(method.id, method.card.name.of(lang), factor, lang)
            percent = f"{100 * beyond:+.1f}".replace("-", "−")
            off.append(word("asked.column", lang, name=name, percent=percent))
    seconds = number(results.asked_seconds(results.baseline) or 0.0, 0)
    return word("asked.off" if off else "asked", lang, n=seconds, names=", ".join(off))


def _references(
    metric: Metric, means: Mapping[str, float], decimals: int, lang: str
) -> tuple[Reference, ...]:
    """Each reference in words."""
    return tuple(
        Reference(
            id=name,
            label=word(f"reference.{name}", lang) if has_word(f"reference.{name}") else name,
            text=number(mean / metric.unit, decimals),
            value=mean,
        )
        for name, mean in means.items()
    )


def sample_row(results: StudyResults, shown: Sequence[Shown], lang: str) -> Row | None:
    """The newest grids of the first block in which most columns have one; None without any."""
    blocks = sorted({block for _, block in results.runs})
    grids = {
        block: [_grid(results, column.source or "", block) for column in shown] for block in blocks
    }
    if not any(grid for row in grids.values() for grid in row):
        return None
    block = max(blocks, key=lambda b: (sum(grid is not None for grid in grids[b]), -b))
    cells = tuple(
        Cell(text="", grid=grid) if grid else _empty(results, column, lang)
        for grid, column in zip(grids[block], shown, strict=True)
    )
    return Row(
        group="samples",
        key="samples",
        label=word("samples", lang),
        values=tuple(cell.grid.file if cell.grid else None for cell in cells),
        mark=None,
        cells=cells,
        note=(say if results.outside else word)("samples.note", lang, block=block),
    )


def _grid(results: StudyResults, column: str, block: int) -> Grid | None:
    key = (column, block)
    if key not in results.grids:
        run = results.runs.get(key)
        results.grids[key] = _read_grid(results, run, block) if run else None
    return results.grids[key]


def _read_grid(results: StudyResults, run: RunResult, block: int) -> Grid | None:
    try:
        paths = run.folder.sample_grids() or run.folder.sample_grids("progress")
        if not paths:
            return None
        grid, nearest = read_grid(paths[-1]), run.folder.sample_grids("nearest")
    except (UserError, OSError) as error:
        results.without.append(sentence(error))
        return None
    root = results.folder.path
    return Grid(
        file=_below(root, paths[-1]),
        block=block,
        seeds=grid.seeds,
        width=grid.tiles.shape[2],
        height=grid.tiles.shape[1],
        images_seen=grid.images_seen,
        nearest=_below(root, nearest[-1]) if nearest else None,
    )


def _below(root: Path, path: Path) -> str:
    return os.path.relpath(path, root).replace(os.sep, "/")
