"""A dot for every block: where each run of a cell lies on the axis that its row shares."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from kurabe.comparison.table import Estimate, Row

WIDTH = 132.0
HEIGHT = 18.0
_EDGE = 5.0


@dataclass(frozen=True)
class Dots:
    """Places on the axis, in the picture's units: dots, interval, mean, references by id."""

    dots: tuple[tuple[float, bool], ...]
    mean: float
    low: float | None
    high: float | None
    references: tuple[tuple[str, float], ...]

    @property
    def marks(self) -> Markup:
        """What stands on the axis, as SVG; made of numbers alone."""
        middle = HEIGHT / 2
        parts = [_line("reference", x, x, 2, HEIGHT - 2) for _, x in self.references]
        if self.low is not None and self.high is not None:
            parts.append(_line("interval", self.low, self.high, middle, middle))
        parts.append(_line("mean", self.mean, self.mean, 4, HEIGHT - 4))
        for x, added in self.dots:
            kind = "dot added" if added else "dot"
            parts.append(f'<circle class="{kind}" cx="{x:g}" cy="{middle:g}" r="2.6"/>')
        return Markup("".join(parts))


def _line(kind: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:g}" x2="{x2:g}" y1="{y1:g}" y2="{y2:g}"/>'


def dots_of(row: Row) -> tuple[Dots | None, ...]:
    """One picture a cell, None where there is no value or nothing to tell apart on the axis."""
    estimates = [cell.estimate for cell in row.cells]
    ends = [value for estimate in estimates if estimate for value in _extent(estimate)]
    ends += [reference.value for reference in row.references]
    if not ends or max(ends) == min(ends):
        return tuple(None for _ in estimates)
    low, scale = min(ends), (WIDTH - 2 * _EDGE) / (max(ends) - min(ends))

    def place(value: float) -> float:
        return round(_EDGE + (value - low) * scale, 2)

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
