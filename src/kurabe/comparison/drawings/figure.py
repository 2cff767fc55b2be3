"""The plots of a table as one picture, for a paper or a slide: SVG, and PNG at twice the size.

Each measured row is a panel, each column with a value two lines of it: its name and value, and
below them the axis with a dot for every run. Both pictures are drawn from the same shapes. The
SVG leaves its text to the reader's fonts; the PNG is set in Pillow's own, which knows Latin
letters only, so it is asked for an English table.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from markupsafe import escape
from PIL import Image, ImageDraw, ImageFont

from kurabe.comparison.drawings.plot import EDGE, HEIGHT, WIDTH, Dots, dots_of
from kurabe.comparison.table import Row, Table
from kurabe.errors import UserError
from kurabe.words.table import word

_INK, _SOFT, _LINE, _ACCENT, _BAND = "#22252a", "#595e66", "#dcd8ce", "#1c5d86", "#bcd0de"
_PANEL, _MARGIN, _GAP = 400.0, 24.0, 44.0
_TITLE, _STEP, _NOTE, _FOOT = 30.0, 38.0, 17.0, 22.0
# References in a line below a panel.
_BESIDE = 2
_SCALE = 2
# What Pillow's font lacks, in letters that it has.
_LATIN = str.maketrans({"−": "-", "–": "-", "—": "-", "×": "x", "“": '"', "”": '"', "’": "'"})


@dataclass(frozen=True)
class Line:
    """A straight line; dashes of 3."""

    x1: float
    y1: float
    x2: float
    y2: float
    colour: str
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True)
class Dot:
    """A run: full, or hollow where its block was added after a look at the results."""

    x: float
    y: float
    hollow: bool


@dataclass(frozen=True)
class Text:
    """A line of text; x is its start, or its end where `end` holds, y its base line."""

    x: float
    y: float
    text: str
    size: float = 12.0
    colour: str = _INK
    end: bool = False
    bold: bool = False


Shape = Line | Dot | Text


def draw_svg(table: Table) -> str:
    """All measured rows that have an axis, as SVG; UserError where there is none."""
    width, height, shapes = _laid_out(table)
    drawn = "\n".join(_svg(shape) for shape in shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" lang="{table.lang}" font-family="sans-serif">\n'
        f"<title>{escape(table.title)}</title>\n"
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{drawn}\n</svg>\n'
    )


def draw_png(table: Table) -> bytes:
    """The same as PNG; letters outside Latin-1 come out as boxes."""
    width, height, shapes = _laid_out(table)
    image = Image.new("RGB", (round(width * _SCALE), round(height * _SCALE)), "#ffffff")
    pen = ImageDraw.Draw(image)
    for shape in shapes:
        _paint(image, pen, shape)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, dpi=(192, 192))
    return buffer.getvalue()


def _laid_out(table: Table) -> tuple[float, float, list[Shape]]:
    """Width, height and shapes: panels in one column, or in two where there are several."""
    panels = [(row, dots) for row in table.group("measured") if any(dots := dots_of(row))]
    if not panels:
        raise UserError("There is nothing measured to draw; name a study that ran these methods.")
    across = min(2, len(panels))
    shapes: list[Shape] = []
    bottoms = [_MARGIN] * across
    for row, dots in panels:
        place = bottoms.index(min(bottoms))
        left = _MARGIN + place * (_PANEL + _GAP)
        shapes += _panel(table, row, dots, left, bottoms[place])
        lines = -(-len(row.references) // _BESIDE)
        bottoms[place] += _TITLE + _STEP * sum(d is not None for d in dots) + _NOTE * lines + _FOOT
    width = 2 * _MARGIN + across * _PANEL + (across - 1) * _GAP
    top = max(bottoms)
    for sentence in _legend(table):
        shapes.append(Text(_MARGIN, top + 12, sentence, 11, _SOFT))
        top += _NOTE
    return width, top + _MARGIN, shapes


def _legend(table: Table) -> list[str]:
    """What the marks in the plots are, a sentence a line."""
    stop = "。" if table.lang == "ja" else ". "
    sentences = word("plot.legend", table.lang).split(stop)
    lines = [sentence.strip().rstrip(".") for sentence in sentences if sentence.strip()]
    study = [word("shown-with", table.lang, study=table.study.name)] if table.study else []
    return [*study, *(line + stop.strip() for line in lines)]


def _panel(
    table: Table, row: Row, dots: tuple[Dots | None, ...], left: float, top: float
) -> Iterator[Shape]:
    yield Text(left, top + 14, row.label, 13, bold=True)
    if row.better:
        better = word(f"better.{row.better}", table.lang)
        yield Text(left + _PANEL, top + 14, better, 11, _SOFT, end=True)
    yield Line(left, top + 21, left + _PANEL, top + 21, _LINE)
    y = top + _TITLE
    scale = _PANEL / WIDTH
    for column, cell, plot in zip(table.columns, row.cells, dots, strict=True):
        if plot is None:
            continue
        yield Text(left, y + 11, column.name, 11, _SOFT)
        yield Text(left + _PANEL, y + 11, cell.text, 11, end=True)
        yield from _axis(plot, left, y + 25, scale)
        y += _STEP
    for start in range(0, len(row.references), _BESIDE):
        part = row.references[start : start + _BESIDE]
        y += _NOTE
        named = " · ".join(f"{reference.label} {reference.text}" for reference in part)
        yield Text(left, y - 4, named, 11, _SOFT)


def _axis(plot: Dots, left: float, middle: float, scale: float) -> Iterator[Shape]:
    def at(x: float) -> float:
        # The dots' own edge is not needed where there is room around the picture.
        return left + EDGE + (x - EDGE) * (scale * WIDTH - 2 * EDGE) / (WIDTH - 2 * EDGE)

    half = HEIGHT / 2 - 2
    yield Line(left, middle, left + scale * WIDTH, middle, _LINE)
    if plot.low is not None and plot.high is not None:
        yield Line(at(plot.low), middle, at(plot.high), middle, _BAND, 6)
    for _, x in plot.references:
        yield Line(at(x), middle - half, at(x), middle + half, _SOFT, 1, dashed=True)
    yield Line(at(plot.mean), middle - 6, at(plot.mean), middle + 6, _ACCENT, 1.5)
    for x, added in plot.dots:
        yield Dot(at(x), middle, added)


def _svg(shape: Shape) -> str:
    if isinstance(shape, Line):
        dashes = ' stroke-dasharray="3 3"' if shape.dashed else ""
        return (
            f'<line x1="{shape.x1:.1f}" y1="{shape.y1:.1f}" x2="{shape.x2:.1f}" '
            f'y2="{shape.y2:.1f}" stroke="{shape.colour}" stroke-width="{shape.width:g}"{dashes}/>'
        )
    if isinstance(shape, Dot):
        fill = "#ffffff" if shape.hollow else _ACCENT
        place = f'cx="{shape.x:.1f}" cy="{shape.y:.1f}"'
        return f'<circle {place} r="3" fill="{fill}" stroke="{_ACCENT}"/>'
    end = ' text-anchor="end"' if shape.end else ""
    bold = ' font-weight="600"' if shape.bold else ""
    return (
        f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" font-size="{shape.size:g}" '
        f'fill="{shape.colour}"{end}{bold}>{escape(shape.text)}</text>'
    )


def _paint(image: Image.Image, pen: ImageDraw.ImageDraw, shape: Shape) -> None:
    if isinstance(shape, Line):
        x1, y1, x2, y2 = (round(v * _SCALE) for v in (shape.x1, shape.y1, shape.x2, shape.y2))
        step = 6 * _SCALE if shape.dashed else max(1, y2 - y1)
        for start in range(y1, max(y1 + 1, y2), step):
            end = min(y2, start + step // 2) if shape.dashed else y2
            pen.line((x1, start, x2, end), shape.colour, round(shape.width * _SCALE))
    elif isinstance(shape, Dot):
        stamp = _stamp(shape.hollow)
        side = stamp.width // 2
        image.paste(stamp, (round(shape.x * _SCALE) - side, round(shape.y * _SCALE) - side), stamp)
    else:
        text = shape.text.translate(_LATIN)
        font = ImageFont.load_default(shape.size * _SCALE)
        anchor, place = ("rs" if shape.end else "ls"), (shape.x * _SCALE, shape.y * _SCALE)
        # The font has one weight.
        pen.text(place, text, shape.colour, font, anchor, stroke_width=0.5 if shape.bold else 0)


@lru_cache(maxsize=2)
def _stamp(hollow: bool) -> Image.Image:
    """A dot with smooth edges: drawn large, then made small."""
    large = 8
    side = 8 * _SCALE
    stamp = Image.new("RGBA", (side * large, side * large), _ACCENT + "00")
    middle, radius = side * large / 2, 3.5 * _SCALE * large
    inner = radius - _SCALE * large
    pen = ImageDraw.Draw(stamp)
    pen.circle((middle, middle), radius, _ACCENT)
    if hollow:
        pen.circle((middle, middle), inner, "#ffffff")
    return stamp.resize((side, side), Image.Resampling.BOX)
