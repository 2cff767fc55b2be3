"""What is said of one pair of columns in one row, as a value."""

from dataclasses import dataclass
from typing import Literal

from kurabe.comparison.t_tests import Difference

Mark = Literal["≠", "≈", "?"]
Family = Literal["primary", "secondary", "exact"]


@dataclass(frozen=True)
class Verdict:
    """What the runs say of one pair of columns.

    Attributes:
        family: "primary" for pairs with the baseline, "secondary" for all others, "exact" for
            values without spread.
        mark: None for values without spread that are equal, and where there are too few images.
        small: ≠, but the whole 95 % interval lies inside the margin of relevance.
        difference: second minus first as it was tested at `look`; without a look that of all
            blocks so far, None with fewer than two. What follows it is None without a look.
        p: corrected over the row's family and the looks; "≠" where it is below .05.
        gated: "?" though p by itself, uncorrected, is below .05.
        look: after how many blocks the mark was made.
        smallest_gap: what would have been seen at 80 % power at that look.
        blocks_needed, gap: the next planned look that would see a true difference of `gap`: the
            one observed, or the margin where that is larger. None where no planned one would.
        images: over how many the row counts, where no planned look could tell its margin by them.
    """

    first: str
    second: str
    family: Family
    mark: Mark | None
    small: bool = False
    difference: Difference | None = None
    p: float | None = None
    gated: bool = False
    look: int | None = None
    margin: float = 0.0
    smallest_gap: float | None = None
    blocks_needed: int | None = None
    gap: float | None = None
    images: int | None = None
