"""Training curves as SVG: losses on a log axis against images seen, drawn by the server."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from kurabe.comparison.build import column_of
from kurabe.comparison.numbers import number
from kurabe.comparison.results import StudyResults
from kurabe.comparison.table import Table
from kurabe.errors import UserError
from kurabe.methods import find
from kurabe.records import RunFolder

WIDTH, HEIGHT = 640.0, 240.0
_LEFT, _BOTTOM, _EDGE = 48.0, 22.0, 8.0
_POINTS = 150

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """A polyline in the picture's units, its name, and the number of its colour."""

    name: str
    points: str
    colour: int


@dataclass(frozen=True)
class Plot:
    """Curves with their ticks: (place, text) along y and x."""

    curves: tuple[Curve, ...]
    y_ticks: tuple[tuple[float, str], ...]
    x_ticks: tuple[tuple[float, str], ...]
    block: int | None = None


def study_curves(results: StudyResults, table: Table) -> Plot | None:
    """The held-out loss of one block's runs, a curve for each of the table's columns."""
    row = next((row for row in table.rows if row.key == "samples"), None)
    grids = [cell.grid.block for cell in row.cells if cell.grid] if row else []
    block = grids[0] if grids else min((block for _, block in results.runs), default=1)
    ids = {column.id for column in results.columns}
    found: dict[str, Points] = {}
    for column in table.columns:
        named = column.method or column.id
        source = column.id if column.id in ids else column_of(find(named), results)
        run = results.runs.get((source or "", block))
        if run and (points := losses(run.folder).get("held_out")):
            found[column.name] = points
    return plot(found, block)


def losses(folder: RunFolder) -> dict[str, Points]:
    """A run's loss and held_out by images seen; nothing of lines that hold no such number."""
    try:
        stat = folder.metrics_path.stat()
    except OSError:
        return {}
    return _losses(folder.metrics_path.parent, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=512)
def _losses(path: Path, changed: int, size: int) -> dict[str, Points]:
    found: dict[str, list[tuple[float, float]]] = {}
    try:
        lines = RunFolder(path).metrics()
    except UserError:
        return {}
    for line in lines:
        for key in ("loss", "held_out"):
            value, seen = line.get(key), line.get("images_seen")
            if isinstance(value, int | float) and isinstance(seen, int | float) and value > 0:
                found.setdefault(key, []).append((float(seen), float(value)))
    return {key: points for key, points in found.items() if len(points) > 1}


def plot(found: Mapping[str, Points], block: int | None = None) -> Plot | None:
    """The picture of these curves; None where there are none."""
    if not found:
        return None
    thinned = {name: _thinned(points) for name, points in found.items()}
    values = [value for points in thinned.values() for _, value in points]
    low, high = math.log(min(values)), math.log(max(values))
    most = max(seen for points in thinned.values() for seen, _ in points)
    span = (high - low) or 1.0

    def x(seen: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _EDGE) * seen / (most or 1), 1)

    def y(value: float) -> float:
        inner = HEIGHT - _BOTTOM - _EDGE
        return round(_EDGE + inner * (high - math.log(value)) / span, 1)

    curves = tuple(
        Curve(name, " ".join(f"{x(seen)},{y(value)}" for seen, value in points), place % 8)
        for place, (name, points) in enumerate(thinned.items())
    )
    ticks = [math.exp(low + span * share) for share in (0, 0.5, 1)]
    return Plot(
        curves,
        tuple((y(value), number(value, 3)) for value in ticks),
        tuple((x(most * share), f"{round(most * share):,}") for share in (0, 0.5, 1)),
        block,
    )


def _thinned(points: Points) -> Points:
    """So few points that each still stands at a place of its own; the last one stays."""
    step = -(-len(points) // _POINTS)
    return [*points[:-1:step], points[-1]]
