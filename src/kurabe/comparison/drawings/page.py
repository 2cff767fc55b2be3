"""The table as one self-contained HTML file: no script, no other file, nothing from elsewhere.

Every text passes Jinja's escaping. The style sheet is admitted by its digest alone, so nothing
that slips into a text could style or load anything.
"""

import base64
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from kurabe.comparison.drawings.flat import ARROWS
from kurabe.comparison.drawings.measured import difference, measured_cell
from kurabe.comparison.drawings.plot import dots_of
from kurabe.comparison.numbers import number, rounded_up
from kurabe.comparison.table import GROUPS, Cell, Column, Grid, Group, Pair, Row, Table
from kurabe.records.samples import read_grid
from kurabe.words import LANGUAGE_NAMES
from kurabe.words.table import word

# A tile of a grid is enlarged by a whole number, to at least this many pixels a side.
_TILE = 64
# Divides into rows of 2, 3, 4 or 6.
TILES = 12

_MARK_NAMES = {"≠": "differs", "≈": "equal", "?": "unclear", None: "none"}


@dataclass(frozen=True)
class PairView:
    """One pair's verdict in words."""

    first: str
    second: str
    mark: str
    verdict: str
    details: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Picture:
    """An image's address and the size it is shown at."""

    address: str
    width: int
    height: int


# The pictures that show one file of a grid.
DrawGrid = Callable[[Grid, str], tuple[Picture, ...]]


@dataclass(frozen=True)
class CellView:
    """A cell: `measured` as HTML where it holds an estimate, else its content and sample tiles."""

    cell: Cell
    measured: Markup | None = None
    tiles: tuple[Picture, ...] = ()
    nearest: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class RowView:
    """A row as the template shows it."""

    row: Row
    arrow: str
    kind: str
    meaning: str | None
    cells: tuple[CellView, ...]
    pairs: tuple[PairView, ...] = ()


@dataclass(frozen=True)
class SectionView:
    """Rows under one heading."""

    heading: str
    group: str
    rows: tuple[RowView, ...]


def draw_html(
    table: Table,
    groups: Sequence[Group] = GROUPS,
    languages: Mapping[str, str] | None = None,
) -> str:
    """The whole page; sample grids are put into it from the study's folder.

    groups: which rows, in which order; languages: where the same page lies, by language.
    """
    environment = page_environment()
    style = style_sheet()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        table=table,
        word=word,
        sections=sections_of(table, groups, embedded(table)),
        # The style sheet is ours and holds no text of a table.
        style=Markup(style),
        style_digest=digest,
        languages=LANGUAGE_NAMES,
        addresses=dict(languages or {}),
        marks=("≠", "≈", "?", "—"),
        baseline=baseline_of(table),
        linked=False,
    )


@lru_cache(maxsize=1)
def page_environment() -> Environment:
    """Templates that escape every value and fail on a name that is not there."""
    return Environment(
        loader=PackageLoader("kurabe.comparison", "templates"),
        autoescape=lambda name: name is None or not name.endswith(".css"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def style_sheet() -> str:
    """The style sheet of everything that table.html draws."""
    return page_environment().get_template("table.css").render()


def sections_of(
    table: Table,
    groups: Sequence[Group],
    draw: DrawGrid,
    baseline: str | None = None,
    with_pairs: Callable[[Row], bool] = lambda row: True,
) -> tuple[SectionView, ...]:
    """The table's rows under their headings, with everything that a template needs to show.

    draw: how a sample grid is shown; baseline: the column that differences are taken from, else
    the study's; with_pairs: for which rows the verdict on each pair is spelt out.
    """
    names = {column.id: column.name for column in table.columns}
    baseline = baseline or baseline_of(table)
    sections: list[SectionView] = []
    for row in table.group(*groups):
        key = f"section.{row.section}" if row.section else f"group.{row.group}"
        heading = word(key, table.lang)
        view = _row(row, table.columns, baseline, table.lang, draw)
        if row.mark and with_pairs(row):
            view = replace(view, pairs=tuple(_pair(p, row, names, table.lang) for p in row.pairs))
        if sections and sections[-1].heading == heading:
            rows = (*sections[-1].rows, view)
            sections[-1] = SectionView(heading, row.group, rows)
        else:
            sections.append(SectionView(heading, row.group, (view,)))
    return tuple(sections)


def baseline_of(table: Table) -> str | None:
    """The study's baseline, where it is among the table's columns."""
    ids = [column.id for column in table.columns]
    return table.study.baseline if table.study and table.study.baseline in ids else None


def _row(
    row: Row, columns: Sequence[Column], baseline: str | None, lang: str, draw: DrawGrid
) -> RowView:
    dots = dots_of(row)
    pairs = {pair.second: pair for pair in row.pairs if pair.first == baseline}
    pairs |= {pair.first: pair.turned() for pair in row.pairs if pair.second == baseline}
    cells: list[CellView] = []
    for index, (column, cell) in enumerate(zip(columns, row.cells, strict=True)):
        if cell.grid is not None:
            nearest = draw(cell.grid, cell.grid.nearest) if cell.grid.nearest else ()
            cells.append(CellView(cell, tiles=draw(cell.grid, cell.grid.file), nearest=nearest))
        elif cell.estimate is not None:
            delta = _delta(row, pairs.get(column.id))
            name = f"{column.name}, {row.label}"
            count = len(cell.estimate.blocks)
            body = measured_cell(cell.text, cell.note, count, dots[index], delta, name, lang)
            cells.append(CellView(cell, body))
        else:
            cells.append(CellView(cell))
    facts = row.group in ("facts", "how") or _is_exact(row)
    meaning = (
        None if row.mark is None else word("mark.facts" if facts else f"mark.{row.mark}", lang)
    )
    return RowView(
        row,
        ARROWS[row.better].strip(),
        _MARK_NAMES[row.mark],
        meaning,
        tuple(cells),
    )


def _is_exact(row: Row) -> bool:
    """Whether the row's values have no spread to differ beyond."""
    return bool(row.pairs) and all(pair.family == "exact" for pair in row.pairs)


def _delta(row: Row, pair: Pair | None) -> Markup:
    if pair is None or pair.difference is None:
        return Markup()
    gap = pair.difference - 1 if pair.ratio else pair.difference
    kind = "plain"
    if pair.mark == "≠" and row.better is not None and gap:
        kind = "better" if (gap > 0) == (row.better == "up") else "worse"
    return difference(kind, difference_text(pair, row), pair.mark)


def difference_text(pair: Pair, row: Row) -> str:
    """The difference with its sign, or the ratio: −.073, +.012, × 1.15."""
    if pair.difference is None:
        return ""
    if pair.ratio:
        return f"× {pair.difference:.2f}"
    value = pair.difference / row.unit
    return ("+" if value > 0 else "") + number(value, row.decimals)


def shown_size(grid: Grid) -> tuple[int, int]:
    """The width and height that a tile is shown at: a whole multiple of its own."""
    factor = max(1, -(-_TILE // max(grid.width, grid.height)))
    return grid.width * factor, grid.height * factor


def embedded(table: Table) -> DrawGrid:
    """Grids as data addresses, tile by tile, read from the study's folder."""
    root = Path(table.study.folder) if table.study else Path()
    return lambda grid, file: tuple(
        Picture(address, *shown_size(grid)) for address in _tiles(root / file)
    )


def _tiles(path: Path) -> tuple[str, ...]:
    """The first tiles of a grid as data addresses; none where the file is gone.

    Raises UserError or OSError where it cannot be read: a page is not drawn with less in silence.
    """
    try:
        tiles = read_grid(path).tiles[:TILES]
    except FileNotFoundError:
        return ()
    found: list[str] = []
    for tile in tiles:
        buffer = io.BytesIO()
        Image.fromarray(tile.squeeze()).save(buffer, "PNG", optimize=True)
        found.append("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode())
    return tuple(found)


def _pair(pair: Pair, row: Row, names: Mapping[str, str], lang: str) -> PairView:
    verdict = word("mark.small" if pair.small else f"mark.{pair.mark}", lang) if pair.mark else "="
    return PairView(
        names[pair.first],
        names[pair.second],
        pair.mark or "=",
        verdict,
        tuple((word(key, lang) if key else "", text) for key, text in _details(pair, row, lang)),
    )


def _details(pair: Pair, row: Row, lang: str) -> list[tuple[str, str]]:
    """Name and value of everything that a verdict rests on."""
    if pair.family == "exact":
        return [("", word("pair.exact", lang))]
    if pair.images is not None:
        return [("", word("pair.too-few", lang))]
    if pair.look is None or pair.p is None:
        return [("", word("pair.few", lang))]

    def scaled(value: float | None) -> str:
        if value is None:
            return "—"
        return f"× {value:.2f}" if pair.ratio else number(value / row.unit, row.decimals)

    def gap(value: float | None) -> str:
        if value is None or pair.ratio:
            return scaled(value)
        return rounded_up(value / row.unit, row.decimals)

    details = [
        ("pair.ratio" if pair.ratio else "pair.difference", difference_text(pair, row)),
        ("interval", f"{scaled(pair.low)} … {scaled(pair.high)}"),
        ("pair.p", _probability(pair.p)),
        ("margin", gap(pair.margin)),
        ("smallest-gap", gap(pair.smallest_gap)),
        ("pair.look", word("pair.blocks", lang, n=pair.look)),
    ]
    if pair.mark == "?":
        details.append(("", _settled(pair, gap(pair.gap), lang)))
    return details


def _probability(p: float) -> str:
    return "< .001" if p < 0.001 else number(p, 3)


def _settled(pair: Pair, gap: str, lang: str) -> str:
    if pair.gated and pair.blocks_needed is None:
        return word("pair.gated", lang)
    if pair.blocks_needed is None:
        return word("pair.never", lang)
    return word("pair.settle", lang, look=pair.blocks_needed, gap=gap)
