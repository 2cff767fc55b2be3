"""What a reader may expect of the marks: the figures of the A/A study, shipped, and in words.

`kurabe.comparison.proving` makes them from real runs; the sentence stands below every table of a
study.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from kurabe.comparison.numbers import number
from kurabe.comparison.proof import Share
from kurabe.comparison.words import word

SHIPPED = Path(__file__).parent.parent / "results" / "a-a" / "proof.json"


class Result(BaseModel):
    """So many of so many tables, with the one-sided 95 % bounds of Clopper and Pearson."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: int
    found: int
    tables: int
    share: float
    lower: float
    upper: float
    metric: str | None = None

    @classmethod
    def of(cls, share: Share, columns: int, metric: str | None = None) -> "Result":
        """A share with its bounds."""
        return cls(
            columns=columns,
            found=share.found,
            tables=share.tables,
            share=share.share,
            lower=share.lower(),
            upper=share.upper(),
            metric=metric,
        )


class Proof(BaseModel):
    """The published figures.

    Attributes:
        runs, blocks: of the pool; blocks_per_table: of each table dealt from it.
        rows: the metrics that are tested in each table; headlines: those that open gates.
        false: tables with any "≠" in which nothing differs, by the number of columns;
            false_unequal: the same with every second column's spread tripled; false_rows: in how
            many of the widest tables each row had one.
        found: tables that find a gap of `gap` standard deviations in that headline row.
        shared_luck: the share of each row's variance that is its block's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    runs: int
    blocks: int
    blocks_per_table: int
    gap: float
    rows: tuple[str, ...]
    headlines: tuple[str, ...]
    false: tuple[Result, ...]
    false_unequal: tuple[Result, ...]
    false_rows: Mapping[str, int]
    found: tuple[Result, ...]
    shared_luck: Mapping[str, float]

    def sentence(self, lang: str) -> str:
        """The worst of the figures over the numbers of columns, in words."""
        worst = max(self.false, key=lambda result: result.upper)
        found = min(self.found, key=lambda result: result.share)
        return word(
            "proof",
            lang,
            tables=f"{worst.tables:,}",
            share=_percent(worst.share),
            upper=_percent(worst.upper),
            gap=f"{self.gap:g}",
            found=_percent(found.share),
            blocks=self.blocks_per_table,
            runs=self.runs,
        )


def _percent(share: float) -> str:
    return f"{number(100 * share, 1)} %"


@lru_cache(maxsize=1)
def published() -> Proof | None:
    """The shipped figures; None where there are none."""
    if not SHIPPED.is_file():
        return None
    return Proof.model_validate_json(SHIPPED.read_bytes())
