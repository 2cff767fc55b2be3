"""What the runs say of every row and pair of columns at one look, as arrays over rows and pairs.

Rows are tested on the scale that they declare, values or logarithms. Four things stand between
values and p:

- **Resolution.** A share of n images moves in steps of 1/n, and two shares that differ by q differ
  on at least q·n of the same images, whose difference then varies by at least q (1 − q) / n
  (McNemar 1947). A block's difference is never taken to vary less, with q the larger of the
  difference seen and the margin: runs that agree by chance prove neither a difference nor equality.
- **Lent variance**, `kurabe.comparison.t_tests.moderated`.
- **Two tests.** The paired t test rids a difference of what a block's columns share, and pays half
  of its degrees of freedom for it; where they share nothing, Welch's (1947) of the same means has
  them. A block's luck is shared or not, never opposed, so either is valid, and the smaller p counts
  twice (Bonferroni). In rows of cost, where columns do compete for one machine, the paired one is
  alone, as it is for "≈" and below five blocks.
- **Skewness.** A t test over a handful of blocks is wrong many times too often where values are
  strongly skewed and the two columns spread differently, and no five values tell. A whole table
  does: `strictness`, which p is multiplied by.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special  # pyright: ignore[reportMissingTypeStubs]

from kurabe.comparison.families import Floats, Pair
from kurabe.comparison.metrics import Metric
from kurabe.comparison.t_tests import FEWEST_BLOCKS, Blocks, moderated

# p is multiplied by exp(SKEW_RATE · (share − SKEW_FROM) · u), the product of both at most 1, where
# the table has gone that share of the way from a normal to a lognormal law and u of the way from
# columns that spread alike to columns of which one spreads two and a half times as much.
SKEW_FROM, SKEW_RATE = 0.28, 13.0
# Fewer blocks tell nothing of skewness, which makes Welch's test wrong more often than the paired.
WELCH_FROM = 5
# Mean logarithms of a pair's ratio of variances between which u goes from 0 to 1, and what a single
# row's may be beyond them: of five values each it varies by 1.1 where the truth is 0.
ALIKE, UNLIKE, ONE_ROW = 0.8, 1.8, 2.5

# A row's values by column.
Values = Mapping[str, Blocks]


@dataclass(frozen=True, eq=False)
class Measured:
    """All tested rows of a study.

    Attributes:
        values: (rows, columns, blocks) on the tested scale, NaN where there is none.
        numbers: each block's number, rising.
        images: (rows, columns) how many images a share was counted over, 0 where that says nothing.
        floor_errors: (rows,) standard errors of real-against-real floors.
        first, second: (pairs,) places of each pair's columns.
    """

    metrics: tuple[Metric, ...]
    columns: tuple[str, ...]
    pairs: tuple[Pair, ...]
    values: Floats
    numbers: NDArray[np.int64]
    images: Floats
    floor_errors: Floats
    first: NDArray[np.int64]
    second: NDArray[np.int64]

    @property
    def counted(self) -> Floats:
        """(rows, pairs) over how many images both columns' shares were counted at least."""
        return np.minimum(self.images[:, self.first], self.images[:, self.second])

    def until(self, look: float, reached: Sequence[float]) -> Floats:
        """The values of the blocks up to a look, of the columns that have reached it."""
        there = np.array([of >= look for of in reached], dtype=bool)
        values = self.values[..., self.numbers <= look]
        return np.where(there[None, :, None], values, np.nan)


@dataclass(frozen=True, eq=False)
class Evidence:
    """Arrays of shape (rows, pairs) at one look; p is 1 where nothing can be tested.

    Attributes:
        blocks: how many both columns have; mean: of the difference, second − first.
        paired, tested: its error and degrees of freedom in the paired test, and in the one of the
            two that has the smaller p.
        p: two-sided, of no difference, in a cost row of one inside the margin; of both tests.
        own_p: the same from the pair's own variance alone, paired. equal_p: of a difference outside
            the margin. All three are multiplied by the strictness.
        testable: three common blocks at least, and a spread.
        strictness: what p was multiplied by.
        tests: how many p was chosen from.
    """

    blocks: Floats
    mean: Floats
    paired: "Spread"
    tested: "Spread"
    margin: Floats
    p: Floats
    own_p: Floats
    equal_p: Floats
    testable: NDArray[np.bool_]
    strictness: Floats
    tests: Floats


@dataclass(frozen=True, eq=False)
class Spread:
    """The standard error of each difference and its degrees of freedom, (rows, pairs)."""

    error: Floats
    df: Floats

    def where(self, chosen: NDArray[np.bool_], other: "Spread") -> "Spread":
        """These where chosen, the other's elsewhere."""
        error = np.where(chosen, self.error, other.error)
        return Spread(error, np.where(chosen, self.df, other.df))


def measured(
    rows: Mapping[Metric, Values],
    pairs: Sequence[Pair],
    images: Mapping[str, Mapping[str, int]],
    floor_errors: Mapping[str, float],
) -> Measured:
    """The rows as arrays. Logarithms are of what is above zero: what cost nothing is not there."""
    columns = tuple(dict.fromkeys(column for pair in pairs for column in pair))
    place = {column: index for index, column in enumerate(columns)}
    numbers = sorted({block for of in rows.values() for b in of.values() for block in b})
    slot = {block: index for index, block in enumerate(numbers)}
    values = np.full((len(rows), len(columns), len(numbers)), np.nan)
    for row, (metric, of) in enumerate(rows.items()):
        for column, blocks in of.items():
            if column in place:
                for block, value in blocks.items():
                    values[row, place[column], slot[block]] = _scaled(value, metric)
    return Measured(
        tuple(rows),
        columns,
        tuple(pairs),
        values,
        np.array(numbers, dtype=np.int64),
        np.array(
            [[images.get(m.id, {}).get(column, 0) for column in columns] for m in rows], dtype=float
        ).reshape(len(rows), len(columns)),
        np.array([floor_errors.get(m.id, 0.0) for m in rows]),
        np.array([place[a] for a, _ in pairs], dtype=np.int64),
        np.array([place[b] for _, b in pairs], dtype=np.int64),
    )


def _scaled(value: float, metric: Metric) -> float:
    if metric.scale != "log":
        return value
    return math.log(value) if value > 0 else math.nan


def evidence(found: Measured, look: float, reached: Sequence[float]) -> Evidence:
    """What is known at a look; columns that have not `reached` it are not there yet."""
    values = found.until(look, reached)
    gaps = values[:, found.second] - values[:, found.first]
    known = ~np.isnan(gaps)
    blocks = known.sum(-1).astype(float)
    mean = np.where(known, gaps, 0.0).sum(-1) / np.maximum(blocks, 1)
    squares = np.where(known, (gaps - mean[..., None]) ** 2, 0.0).sum(-1)
    variance = squares / np.maximum(blocks - 1, 1)
    margin = _margins(found, values)
    least = _resolution(found, mean, margin)
    variance = np.maximum(variance, least)
    # Equal values summed in floating point leave a spread that is none.
    spread = variance > 1e-24 * np.maximum(1e-300, mean**2)
    testable = (blocks >= FEWEST_BLOCKS) & spread
    df = np.maximum(blocks - 1, 1)
    paired = _spread(variance, df, blocks, testable)
    unpaired = _spread(*_welch(values, found, known, least), blocks, testable)
    cost = np.array([metric.section == "cost" for metric in found.metrics], dtype=bool)[:, None]
    beyond = np.maximum(0.0, abs(mean) - np.where(cost, margin, 0.0))
    strict = strictness(values, found.first, found.second)

    def tail(excess: Floats, by: Spread) -> Floats:
        safe = np.where(testable, by.error, 1.0)
        return np.where(testable, special.stdtr(by.df, -excess / safe) * strict, 1.0)

    alone = cost | (blocks < WELCH_FROM)
    p, other = tail(beyond, paired), np.where(alone, 1.0, tail(beyond, unpaired))
    tests = np.where(alone, 1.0, 2.0)
    own = Spread(np.sqrt(np.where(testable, variance, 0.0) / np.maximum(blocks, 1)), df)
    return Evidence(
        blocks,
        mean,
        paired,
        paired.where(p <= other, unpaired),
        margin,
        np.minimum(1.0, 2 * np.minimum(p, other) * tests),
        np.minimum(1.0, 2 * tail(beyond, own)),
        np.minimum(1.0, tail(margin - abs(mean), paired)),
        testable,
        strict,
        tests,
    )


def _spread(variance: Floats, df: Floats, blocks: Floats, testable: NDArray[np.bool_]) -> Spread:
    """Errors from a block's variances and their degrees of freedom, lent what the row lends."""
    drawn, lent = moderated(np.where(testable, variance, np.nan))
    own = np.where(testable, variance, 0.0)
    drawn, lent = np.where(testable, drawn, own), np.where(testable, lent, 0.0)
    return Spread(np.sqrt(drawn / np.maximum(blocks, 1)), df * (1 + lent))


def _welch(
    values: Floats, found: Measured, known: NDArray[np.bool_], least: Floats
) -> tuple[Floats, Floats]:
    """What a block's difference varies by if its columns share nothing, and the degrees of freedom.

    Over the blocks that both have; the degrees are Satterthwaite's (1946), here
    (n − 1) (a + b)² / (a² + b²) of the columns' variances a and b.
    """
    counted = np.maximum(known.sum(-1), 1)
    sides: list[Floats] = []
    for side in (found.first, found.second):
        of = np.where(known, values[:, side], 0.0)
        mean = of.sum(-1) / counted
        squares = np.where(known, (of - mean[..., None]) ** 2, 0.0).sum(-1)
        sides.append(squares / np.maximum(counted - 1, 1))
    a, b = sides
    df = np.maximum(counted - 1, 1) * (a + b) ** 2 / np.maximum(a**2 + b**2, 1e-300)
    return np.maximum(a + b, least), np.maximum(df, np.maximum(counted - 1, 1))


def _margins(found: Measured, values: Floats) -> Floats:
    """The margin of relevance of each row and pair, whichever column is the baseline.

    A share counts of the smaller of the two columns' means; on a log scale it is a ratio.
    """
    known = ~np.isnan(values)
    means = np.where(known, values, 0.0).sum(-1) / np.maximum(known.sum(-1), 1)
    smaller = np.minimum(abs(means[:, found.first]), abs(means[:, found.second]))
    margins = np.empty(smaller.shape)
    for row, metric in enumerate(found.metrics):
        if metric.scale == "log":
            margins[row] = math.log1p(metric.relative)
        else:
            least = max(metric.margin, metric.floor_errors * found.floor_errors[row])
            margins[row] = np.maximum(least, metric.relative * smaller[row])
    return margins


def _resolution(found: Measured, mean: Floats, margin: Floats) -> Floats:
    """The least that a block's difference varies by, 0 where nothing is counted over images."""
    images = found.counted
    share = np.clip(np.maximum(abs(mean), margin), 0.0, 0.5)
    counted = np.maximum(images, 1)
    least = np.maximum(1 / counted**2, share * (1 - share) / counted)
    return np.where(images > 0, least, 0.0)


def strictness(
    values: Floats, first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float64]:
    """What the p of rows and pairs is multiplied by, (rows, pairs); 1 where nothing is skewed, or
    where a pair's columns spread alike: the difference of two values of one law is symmetric.

    The skewness is the whole table's: the mean of g₁² over its rows and columns, g₁ = m₃ / m₂^1.5,
    is 6 (n − 2) / ((n + 1)(n + 3)) where values are normal (Fisher 1930), and about .2 n − .6 more
    where they are lognormal with σ = 1 (simulated: .41 at five values, 1.7 at ten, 3.9 at twenty).
    How unlike a pair's columns spread is the mean over its rows of the logarithm of their ratio of
    variances, or the row's own where that is far larger. Values that repeat tell of a metric's
    steps and not of its shape: such columns are left out.
    """
    known = ~np.isnan(values)
    n = known.sum(-1)
    counted = np.maximum(n, 1)
    mean = np.where(known, values, 0.0).sum(-1) / counted
    centred = np.where(known, values - mean[..., None], 0.0)
    squared = (centred**2).sum(-1) / counted
    cubed = (centred**3).sum(-1) / counted
    ordered = np.sort(values, axis=-1)
    repeats = (np.diff(ordered, axis=-1) == 0).any(-1)
    told = (n >= FEWEST_BLOCKS) & ~repeats & (squared > 0)
    none = np.ones((len(values), len(first)))
    if not told.any():
        return none
    skews = cubed[told] ** 2 / squared[told] ** 3
    of_normal = 6 * (n[told] - 2) / ((n[told] + 1) * (n[told] + 3))
    of_lognormal = np.maximum(0.4, 0.2 * n[told] - 0.6)
    share = float((skews - of_normal).sum() / of_lognormal.sum())
    if share <= SKEW_FROM:
        return none
    both = told[:, first] & told[:, second]
    spread = np.log(np.where(told, squared, 1.0))
    ratio = np.where(both, spread[:, second] - spread[:, first], 0.0)
    of_pair = abs(ratio.sum(0)) / np.maximum(both.sum(0), 1)
    unlike = np.maximum(of_pair[None], abs(ratio) - ONE_ROW)
    part = np.clip((unlike - ALIKE) / (UNLIKE - ALIKE), 0.0, 1.0)
    return np.exp(SKEW_RATE * np.minimum(1.0, (share - SKEW_FROM) * part))
