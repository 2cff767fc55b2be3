"""A dot for every block: where each run of a cell lies on the axis that its row shares."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from kurabe.comparison.table import Estimate, Row

WIDTH = 132.0
HEIGHT = 18.0
EDGE = 5.0


class Dots(NamedTuple):
    """Places on the axis, in the picture's units: dots, interval, mean, references by id."""

    dots: tuple[tuple[float, bool], ...]
    mean: float
    low: float | None
    high: float | None
    references: tuple[tuple[str, float], ...]

    def svg(self, label: str) -> Markup:
        """The picture, with what a screen reader says of it."""
        parts = [_line("reference", x, x, 2, HEIGHT - 2) for _, x in self.references]
        if self.low is not None and self.high is not None:
            parts.append(_line("interval", self.low, self.high, _MIDDLE, _MIDDLE))
        parts.append(_line("mean", self.mean, self.mean, 4, HEIGHT - 4))
        parts += [_ADDED.format(x) if added else _DOT.format(x) for x, added in self.dots]
        return Markup(f'{_FRAME} aria-label="{escape(label)}">{_AXIS}{"".join(parts)}</svg>')


def _line(kind: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1}" x2="{x2}" y1="{y1}" y2="{y2}"/>'


_MIDDLE = HEIGHT / 2
_FRAME = (
    f'<svg class="dots" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" '
    f'width="{WIDTH:g}" height="{HEIGHT:g}" role="img"'
)
_AXIS = _line("axis", 0, WIDTH, _MIDDLE, _MIDDLE)
_DOT, _ADDED = (
    f'<circle class="{kind}" cx="{{}}" cy="{_MIDDLE:g}" r="2.6"/>' for kind in ("dot", "dot added")
)


def dots_of(row: Row) -> tuple[Dots | None, ...]:
    """One picture a cell, None where there is no value or nothing to tell apart on the axis."""
    estimates = [cell.estimate for cell in row.cells]
    ends = [value for estimate in estimates if estimate for value in _extent(estimate)]
    ends += [reference.value for reference in row.references]
    if not ends or max(ends) == min(ends):
        return tuple(None for _ in estimates)
    low, scale = min(ends), (WIDTH - 2 * EDGE) / (max(ends) - min(ends))

    def place(value: float) -> float:
        return round(EDGE + (value - low) * scale, 2)

    references = tuple((reference.id, place(reference.value)) for reference in row.references)
    return tuple(
        None
        if estimate is None
        else Dots(
            tuple((place(value.value), value.added) for value in estimate.blocks),
            place(estimate.mean),
            None if estimate.low is None else place(estimate.low),
            None if estimate.high is None else place(estimate.high),
            references,
        )
        for estimate in estimates
    )


def _extent(estimate: Estimate) -> Sequence[float]:
    ends = [value.value for value in estimate.blocks]
    return [*ends, *(end for end in (estimate.low, estimate.high) if end is not None)]
