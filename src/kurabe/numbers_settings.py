"""study.toml of a study of numbers: runs that others trained and measured, and what was declared.

Every metric says which way is better and how large a difference has to be to matter, before any
mark is made. No torch, and no file is opened here.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from kurabe.errors import UserError
from kurabe.methods import find
from kurabe.methods.settings import Later
from kurabe.outside_settings import Slug
from kurabe.planned_looks import planned_looks, wrong_looks
from kurabe.recipe import Settings, first_problem

Share = Annotated[float, Field(ge=0)]


class Declared(Later, Settings):
    """A metric: which way is better, and inside which width two values are alike.

    margin: an absolute width. relative: the same as a share of the smaller of two means; the larger
    counts. With neither no pair is ever "≈". scale: "log" for times and sizes, where ratios count
    and relative is the margin. headline: whether the row decides; else the first metric does.
    """

    later = ("margin", "relative", "scale", "headline", "label")

    id: Annotated[str, Field(min_length=1, max_length=120)]
    better: Literal["up", "down"]
    margin: Share = 0.0
    relative: Share = 0.0
    scale: Literal["linear", "log"] = "linear"
    headline: bool = False
    label: str | None = None


class NumberColumn(Later, Settings):
    """A column: what its runs are called, and the card of its method where there is one.

    name: as the source calls it, where that is no id.
    """

    later = ("method", "name")

    id: Slug
    method: str | None = None
    name: str | None = None


class NumbersSettings(Settings):
    """Where the numbers were read, which metrics and columns they have, and the blocks planned."""

    name: str
    numbers: str
    baseline: str
    blocks: Annotated[int, Field(gt=0, le=1000)]
    looks: tuple[int, ...] | None = None
    metrics: Annotated[tuple[Declared, ...], Field(min_length=1)]
    columns: Annotated[tuple[NumberColumn, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _fit(self) -> Self:
        ids = [column.id for column in self.columns]
        metrics = [metric.id for metric in self.metrics]
        for what, known in (("column", ids), ("metric", metrics)):
            if twice := {name for name in known if known.count(name) > 1}:
                raise ValueError(f"the {what} '{twice.pop()}' is there twice")
        if self.baseline not in ids:
            raise ValueError(f"the baseline '{self.baseline}' is none of the columns")
        if self.looks is not None and (wrong := wrong_looks(self.looks)):
            raise ValueError(wrong)
        return self

    @property
    def planned(self) -> tuple[int, ...]:
        """After how many blocks marks are made."""
        return self.looks or planned_looks(self.blocks)

    @classmethod
    def checked(cls, settings: dict[str, Any], source: str) -> Self:
        """Check settings that came from `source`, which an error names."""
        try:
            study = cls.model_validate(settings)
        except ValidationError as error:
            raise UserError(f"{source}: {first_problem(error)}") from None
        for column in study.columns:
            if column.method is not None:
                find(column.method)
        return study
