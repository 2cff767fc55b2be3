"""When two measured values differ: tests over blocks of seeds, families of tests, and marks.

What replicates is the block. For two columns a, b with values a_r, b_r in block r,

- `paired`: t = d̄ / (s_d / √n), d_r = b_r − a_r, n − 1 degrees of freedom: for studies whose
  blocks draw the images anew, so that a block's luck is shared by its columns;
- `welch`: Welch (1947), unequal variances, Satterthwaite's degrees of freedom: for studies in
  which seeds alone vary, and nothing is shared within a block.

Pairs with the baseline are one family per metric, all other pairs a second one; within a family
p is corrected by Holm (1979). A pair is "≠" where the corrected p < .05, else "≈" where the 90 %
interval of the difference lies inside the margin of relevance (two one-sided tests at 5 %,
Schuirmann 1987), else "?".
"""

import bisect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import special

from kurabe.comparison.metrics import Metric

LEVEL = 0.05
POWER = 0.8
FEWEST_BLOCKS = 3
MOST_BLOCKS = 100

Mark = Literal["≠", "≈", "?"]
Blocks = Mapping[int, float]


@dataclass(frozen=True)
class Difference:
    """An estimated difference of means, second column minus first.

    On a log scale it is the logarithm of a ratio. blocks: how many went into it, the fewer of
    both columns where they are not paired.
    """

    mean: float
    standard_error: float
    df: float
    blocks: int

    @property
    def p(self) -> float:
        """Two-sided p of no difference; without any spread 1 where the values agree, else 0."""
        if self.standard_error == 0:
            return 1.0 if self.mean == 0 else 0.0
        return float(2 * special.stdtr(self.df, -abs(self.mean) / self.standard_error))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The two-sided confidence interval."""
        half = self.standard_error * float(special.stdtrit(self.df, 0.5 + level / 2))
        return self.mean - half, self.mean + half

    def within(self, margin: float, level: float) -> bool:
        """Whether the interval at that level lies wholly inside ±margin."""
        low, high = self.interval(level)
        return -margin <= low and high <= margin

    def smallest_gap(self, level: float = LEVEL, power: float = POWER) -> float:
        """The true difference that a test at `level` would have seen with this power."""
        return self.standard_error * detectable(self.df, level, power)

    def with_blocks(self, blocks: int) -> "Difference":
        """The same difference and spread as they would stand after so many blocks."""
        error = self.standard_error * math.sqrt(self.blocks / blocks)
        df = self.df * (blocks - 1) / (self.blocks - 1)
        return Difference(self.mean, error, df, blocks)


def paired(first: Blocks, second: Blocks) -> Difference | None:
    """Over the blocks that both have; None with fewer than two of them."""
    common = sorted(first.keys() & second.keys())
    if len(common) < 2:
        return None
    gaps = np.array([second[block] - first[block] for block in common])
    error = float(gaps.std(ddof=1)) / math.sqrt(len(gaps))
    return Difference(float(gaps.mean()), error, len(gaps) - 1, len(gaps))


def welch(first: Blocks, second: Blocks) -> Difference | None:
    """Over all blocks of each; None where either has fewer than two."""
    a, b = np.array(list(first.values())), np.array(list(second.values()))
    if min(len(a), len(b)) < 2:
        return None
    part_a, part_b = float(a.var(ddof=1)) / len(a), float(b.var(ddof=1)) / len(b)
    square = part_a + part_b
    weight = part_a**2 / (len(a) - 1) + part_b**2 / (len(b) - 1)
    df = square**2 / weight if weight > 0 else float(len(a) + len(b) - 2)
    return Difference(float(b.mean() - a.mean()), math.sqrt(square), df, min(len(a), len(b)))


Test = Callable[[Blocks, Blocks], Difference | None]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: max over smaller p of (m − rank) · p, ≤ 1."""
    order = sorted(range(len(p)), key=lambda index: p[index])
    adjusted = [0.0] * len(p)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = highest
    return adjusted


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(160)


def power_of(noncentrality: float, df: float, level: float = LEVEL) -> float:
    """The power of a two-sided t test whose true difference is so many standard errors.

    P(|T| > c) = ∫ [Φ(δ − c s) + Φ(−δ − c s)] f(s) ds, s² = χ²_df / df, by Gauss–Legendre with 160
    nodes: SciPy 1.17's noncentral t answers NaN for some of the values that are needed here.
    """
    critical = float(special.stdtrit(df, 1 - level / 2))
    top = math.sqrt(float(special.chdtri(df, 1e-16)) / df)
    s = (_NODES + 1) / 2 * top
    log_density = (df - 1) * np.log(s) - df * s * s / 2
    log_density += math.log(2) + df / 2 * math.log(df / 2) - math.lgamma(df / 2)
    tails = special.ndtr(noncentrality - critical * s) + special.ndtr(-noncentrality - critical * s)
    return top / 2 * float(np.sum(_WEIGHTS * np.exp(log_density) * tails))


@lru_cache(maxsize=4096)
def detectable(df: float, level: float = LEVEL, power: float = POWER) -> float:
    """The true difference, in standard errors, that is found with this power (bisection)."""
    low, high = 0.0, 2.0
    while power_of(high, df, level) < power:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if power_of(middle, df, level) < power else (low, middle)
    return high


def blocks_to_see(difference: Difference, gap: float, level: float = LEVEL) -> int | None:
    """How many blocks in all would see a true difference of `gap` at 80 % power.

    None where more than MOST_BLOCKS would be needed: more runs are then no way out. Welch's
    degrees of freedom are rounded down, which is never too few blocks and lets tables be kept.
    """

    def enough(blocks: int) -> bool:
        then = difference.with_blocks(blocks)
        return then.standard_error * detectable(math.floor(then.df + 1e-9), level) <= gap

    candidates = range(max(FEWEST_BLOCKS, difference.blocks + 1), MOST_BLOCKS + 1)
    first = bisect.bisect_left(candidates, True, key=enough)
    return candidates[first] if first < len(candidates) else None


@dataclass(frozen=True)
class Verdict:
    """What the runs say of one pair of columns.

    Attributes:
        family: "primary" for pairs with the baseline, "secondary" for all others, "exact" for
            values without spread.
        mark: None for values without spread that are equal.
        small: ≠, but the whole 95 % interval lies inside the margin of relevance.
        difference: second minus first; None with fewer than two common blocks. What follows
            it is None with fewer than three.
        p: corrected within the family.
        smallest_gap: what would have been seen at 80 % power, at the family's strictest level
            (.05 / its number of pairs), so that Holm's order cannot take it back.
        blocks_needed, gap: so many blocks in all would see a true difference of `gap`: the one
            observed, or the margin where that is larger.
    """

    first: str
    second: str
    family: Literal["primary", "secondary", "exact"]
    mark: Mark | None
    small: bool = False
    difference: Difference | None = None
    p: float | None = None
    margin: float = 0.0
    smallest_gap: float | None = None
    blocks_needed: int | None = None
    gap: float | None = None


def mark_of(difference: Difference | None, p: float, margin: float) -> tuple[Mark, bool]:
    """The mark of a pair, and whether a "≠" is small; p is corrected already."""
    if difference is None or difference.blocks < FEWEST_BLOCKS:
        return "?", False
    if p < LEVEL:
        return "≠", difference.within(margin, 0.95)
    return ("≈" if difference.within(margin, 0.90) else "?"), False


def margin_of(metric: Metric, baseline: Sequence[float], floor_error: float = 0.0) -> float:
    """The margin of relevance on the scale that is tested.

    baseline: the baseline's values; floor_error: the standard error of the real-against-real
    floor, which counts where the metric asks for it.
    """
    if metric.scale == "log":
        return math.log1p(metric.relative)
    share = metric.relative * abs(float(np.mean(baseline or [0.0])))
    return max(metric.margin, share, metric.floor_errors * floor_error)


def judge(
    values: Mapping[str, Blocks], baseline: str, margin: float, test: Test = paired
) -> list[Verdict]:
    """The verdict on every pair of columns that have values, in the columns' order.

    The columns are all of the study's: a pair's verdict does not depend on what is shown.
    """
    columns = [column for column, blocks in values.items() if blocks]
    pairs = [(b, a) if b == baseline else (a, b) for a, b in itertools.combinations(columns, 2)]
    families = {
        "primary": [pair for pair in pairs if baseline in pair],
        "secondary": [pair for pair in pairs if baseline not in pair],
    }
    found: dict[tuple[str, str], Verdict] = {}
    for family, members in families.items():
        differences = [test(values[first], values[second]) for first, second in members]
        # A pair that cannot be tested yet still counts in the family's size.
        adjusted = holm([1.0 if d is None else d.p for d in differences])
        level = LEVEL / max(1, len(members))
        for (first, second), difference, p in zip(members, differences, adjusted, strict=True):
            found[first, second] = _verdict(
                first, second, difference, p, margin, level, primary=family == "primary"
            )
    return [found[pair] for pair in pairs]


def _verdict(
    first: str,
    second: str,
    difference: Difference | None,
    p: float,
    margin: float,
    level: float,
    *,
    primary: bool,
) -> Verdict:
    mark, small = mark_of(difference, p, margin)
    family = "primary" if primary else "secondary"
    if difference is None or difference.blocks < FEWEST_BLOCKS:
        return Verdict(first, second, family, mark, difference=difference, margin=margin)
    gap = max(abs(difference.mean), margin)
    return Verdict(
        first,
        second,
        family,
        mark,
        small,
        difference,
        p,
        margin,
        difference.smallest_gap(level),
        blocks_to_see(difference, gap, level) if mark == "?" and gap > 0 else None,
        gap if mark == "?" else None,
    )


def judge_exact(values: Mapping[str, Blocks]) -> list[Verdict]:
    """Values without spread, compared as they are: "≠" or, where they are equal, no mark."""
    columns = {column: set(blocks.values()) for column, blocks in values.items() if blocks}
    return [
        Verdict(first, second, "exact", "≠" if columns[first] != columns[second] else None)
        for first, second in itertools.combinations(columns, 2)
    ]


def judge_metric(
    metric: Metric,
    values: Mapping[str, Blocks],
    baseline: str,
    floor_error: float = 0.0,
    test: Test = paired,
) -> list[Verdict]:
    """The verdicts on one metric's row, on the scale and with the margin that it declares.

    Logarithms are taken where all values of the row are above zero; a row that holds a zero (the
    seconds of a base that was not trained) is tested as it stands, its margin a share of the
    baseline's mean.
    """
    if metric.scale == "untested":
        return []
    if metric.scale == "exact":
        return judge_exact(values)
    base = list(values.get(baseline, {}).values())
    if metric.scale == "linear":
        return judge(values, baseline, margin_of(metric, base, floor_error), test)
    if all(value > 0 for blocks in values.values() for value in blocks.values()):
        logs = {
            column: {block: math.log(value) for block, value in blocks.items()}
            for column, blocks in values.items()
        }
        return judge(logs, baseline, margin_of(metric, base), test)
    return judge(values, baseline, metric.relative * abs(float(np.mean(base or [0.0]))), test)


def row_mark(marks: Sequence[Mark | None]) -> Mark | None:
    """A row's mark from its pairs': ≠ if any is, ≈ if all are, else "?".

    No mark where there is no pair, or where values without spread agree.
    """
    if "≠" in marks:
        return "≠"
    if all(mark is None for mark in marks):
        return None
    return "≈" if all(mark == "≈" for mark in marks) else "?"
