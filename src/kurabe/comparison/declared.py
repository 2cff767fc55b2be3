"""Metrics that a study of numbers declares, as the table knows them."""

from kurabe.comparison.metrics import Metric
from kurabe.numbers_settings import Declared, NumbersSettings


def metrics_of(settings: NumbersSettings) -> dict[str, Metric]:
    """The declared metrics by id, in their order; headline rows first, as in every table."""
    ordered = sorted(settings.metrics, key=lambda of: of.id not in heads_of(settings))
    return {of.id: _metric(of) for of in ordered}


def heads_of(settings: NumbersSettings) -> tuple[str, ...]:
    """The rows that decide: those declared as such, else the first."""
    declared = tuple(of.id for of in settings.metrics if of.headline)
    return declared or (settings.metrics[0].id,)


def _metric(of: Declared) -> Metric:
    name = of.label or of.id
    return Metric(
        of.id, "declared", name, name, of.better, of.margin, of.relative, scale=of.scale,
        decimals=None,
    )  # fmt: skip
