"""A dot for every block: where each run of a cell lies on the axis that its row shares."""

from collections.abc import Sequence
from dataclasses import dataclass

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
