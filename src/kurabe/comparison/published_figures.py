"""What a reader may expect of the marks and of the headline distance: shipped figures, in words.

`kurabe.comparison.prove_marks` makes the first from real runs of one method, bench/headline.py the
second from pictures that are known to be worse than others; the sentences stand below the tables
of studies.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from kurabe.comparison.numbers import number
from kurabe.comparison.simulated_tables import DealtShare
from kurabe.words.table import word

RESULTS = Path(__file__).parent.parent / "results"
SHIPPED = RESULTS / "a-a" / "proof.json"
HEADLINE = RESULTS / "headline" / "figures.json"


class Result(BaseModel):
    """A share of so many tables, with one-sided 95 % bounds that count the pool's own variance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: int
    tables: int
    share: float
    lower: float
    upper: float
    metric: str | None = None

    @classmethod
    def of(cls, share: DealtShare, columns: int, metric: str | None = None) -> "Result":
        """A share with its bounds."""
        return cls(
            columns=columns,
            tables=share.tables,
            share=share.share,
            lower=share.lower(),
            upper=share.upper(),
            metric=metric,
        )


class Proof(BaseModel):
    """The published figures, each by the number of columns.

    Attributes:
        runs, blocks: of the pool; blocks_per_table: of each table dealt from it.
        looks: all that were planned; the figures are those of the first but for false_looks.
        rows: the metrics that are tested in each table; headlines: those that open gates.
        false: tables with any "≠" in which nothing differs; false_unequal: the same with every
            second column's spread tripled; false_looks: the same at any of the looks; false_rows:
            in how many of the widest tables each row had one.
        false_beside: tables with any false "≠" where one headline row alone differs, by a gap in
            the last column; false_marks: of all "≠" those that are false, where half of the rows
            differ.
        found: tables that find a gap of `gap` standard deviations in that headline row.
        shared_luck: the share of each row's variance that is its block's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs: int
    blocks: int
    blocks_per_table: int
    looks: tuple[int, ...]
    gap: float
    rows: tuple[str, ...]
    headlines: tuple[str, ...]
    false: tuple[Result, ...]
    false_unequal: tuple[Result, ...]
    false_looks: tuple[Result, ...]
    false_rows: Mapping[str, float]
    false_beside: tuple[Result, ...]
    false_marks: tuple[Result, ...]
    found: tuple[Result, ...]
    shared_luck: Mapping[str, float]

    def sentence(self, lang: str) -> str:
        """The worst of the figures over the numbers of columns, in words."""
        found = min(self.found, key=lambda result: result.share)
        worst = {
            name: max(results, key=lambda result: result.upper)
            for name, results in (
                ("one", self.false),
                ("all", self.false_looks),
                ("beside", self.false_beside),
                ("marks", self.false_marks),
            )
        }
        return word(
            "proof",
            lang,
            tables=f"{worst['one'].tables:,}",
            columns=_range([of.columns for of in self.false]),
            **{name: _percent(of.share) for name, of in worst.items()},
            **{f"{name}_upper": _percent(of.upper) for name, of in worst.items()},
            gap=f"{self.gap:g}",
            found=_percent(found.share),
            blocks=self.blocks_per_table,
            runs=self.runs,
        )


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low}–{high}"


def _percent(share: float) -> str:
    return f"{number(100 * share, 1)} %"


@lru_cache(maxsize=1)
def published() -> Proof | None:
    """The shipped figures; None where there are none."""
    if not SHIPPED.is_file():
        return None
    return Proof.model_validate_json(SHIPPED.read_bytes())


Held = tuple[int, int]


class Checks(BaseModel):
    """How many checks of a distance hold, of how many.

    severity: it rises with grain, blur, shifts, missing parts and blending. placeholders: white,
    black, mean and noise images are worse than what is drawn after the first stretch of training.
    course: it falls along a training run. floor: real against real is 0 but for chance.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    severity: Held
    placeholders: Held
    course: Held
    floor: Held


class Chosen(BaseModel):
    """What the headline distance and KID do on the known data sets.

    encoder: whose features these are. figures: by distance, data set and pictures the value itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str
    sets: int
    distance: Checks
    kid: Checks
    figures: Mapping[str, Mapping[str, Mapping[str, float]]]

    def sentence(self, lang: str) -> str:
        """Why the distance decides, in words."""
        counts = {
            f"{name}{suffix}": getattr(of, name)[0]
            for suffix, of in (("", self.distance), ("_kid", self.kid))
            for name in ("severity", "placeholders", "course")
        }
        totals = {
            f"{name}_all": getattr(self.distance, name)[1]
            for name in ("severity", "placeholders", "course")
        }
        return word("chosen", lang, sets=self.sets, **counts, **totals)


@lru_cache(maxsize=1)
def chosen() -> Chosen | None:
    """The shipped figures of the headline distance; None where there are none."""
    if not HEADLINE.is_file():
        return None
    return Chosen.model_validate_json(HEADLINE.read_bytes())
