"""The difference of two columns over blocks of seeds: estimate, t test, interval, power.

What replicates is the block. For two columns a, b with values a_r, b_r in block r the test is
paired, t = d̄ / (s_d / √n), d_r = b_r − a_r, n − 1 degrees of freedom: a block's luck (the images it
drew) is shared by its columns and leaves the difference.

Over a handful of blocks a pair's own variance is a poor estimate, and it is the reason why wide
tables see little. `moderated` lends every pair of a row the row's other pairs, as Smyth (2004),
"Linear models and empirical Bayes methods for assessing differential expression in microarray
experiments", eq. 1, lends a gene the other genes.

Power is that of the noncentral t (`power_of`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special  # pyright: ignore[reportMissingTypeStubs]

from kurabe.comparison.families import LEVEL, Floats
from kurabe.planned_looks import FEWEST_BLOCKS as FEWEST_BLOCKS

POWER = 0.8
# Degrees of freedom that the row lends a pair, per degree of its own: to one whose variance lies
# below the row's mean, and to one above, which is pulled down: docs/decisions/0011.
LENT_UP, LENT_DOWN = 1.0, 0.45

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
        half = self.standard_error * t_quantile(self.df, level)
        return self.mean - half, self.mean + half

    def within(self, margin: float, level: float) -> bool:
        """Whether the interval at that level lies wholly inside ±margin."""
        low, high = self.interval(level)
        return -margin <= low and high <= margin

    def smallest_gap(self, level: float = LEVEL, power: float = POWER) -> float:
        """The true difference that a test at `level` would have seen with this power."""
        return self.standard_error * detectable(self.df, level, power)


@lru_cache(maxsize=4096)
def t_quantile(df: float, level: float = 0.95) -> float:
    """Half the width of a two-sided interval at that level, in standard errors."""
    return float(special.stdtrit(df, 0.5 + level / 2))


def mean_and_variance(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and the variance with n − 1 below it; of at least two values.

    Summed without NumPy, whose calls cost more than the sums over a handful of blocks.
    """
    mean = math.fsum(values) / len(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return mean, squares / (len(values) - 1)


def paired(first: Blocks, second: Blocks) -> Difference | None:
    """Over the blocks that both have; None with fewer than two of them."""
    gaps = [second[block] - value for block, value in first.items() if block in second]
    if len(gaps) < 2:
        return None
    mean, variance = mean_and_variance(gaps)
    return Difference(mean, math.sqrt(variance / len(gaps)), len(gaps) - 1, len(gaps))


def moderated(variances: Floats) -> tuple[Floats, Floats]:
    """Variances drawn towards their row's mean, and L; both of shape (rows, pairs).

    s̃² = (s² + L s̄²) / (1 + L), with (1 + L) times the degrees of freedom. L is LENT_UP where s²
    lies below the mean and LENT_DOWN where above: a quiet pair beside noisy ones loses power by
    that, a noisy one beside quiet ones would gain error. Smyth estimates L from thousands
    of genes; a handful of pairs cannot say, so it is fixed. A single pair stays as it is. NaN marks
    pairs that are not there.
    """
    known = ~np.isnan(variances)
    count = known.sum(-1, keepdims=True)
    mean = np.where(known, variances, 0.0).sum(-1, keepdims=True) / np.maximum(count, 1)
    lent = np.where(variances <= mean, LENT_UP, LENT_DOWN) * (count > 1)
    return (variances + lent * mean) / (1 + lent), lent


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(160)


def power_of(noncentrality: float, df: float, level: float = LEVEL) -> float:
    """The power of a two-sided t test whose true difference is so many standard errors.

    P(|T| > c) = ∫ [Φ(δ − c s) + Φ(−δ − c s)] f(s) ds, s² = χ²_df / df, by Gauss–Legendre with 160
    nodes: SciPy 1.17's noncentral t answers NaN for some of the values that are needed here.
    """
    critical = t_quantile(df, 1 - level)
    top = math.sqrt(float(special.chdtri(df, 1e-16)) / df)
    s = (_NODES + 1) / 2 * top
    log_density = (df - 1) * np.log(s) - df * s * s / 2
    log_density += math.log(2) + df / 2 * math.log(df / 2) - math.lgamma(df / 2)
    tails = special.ndtr(noncentrality - critical * s) + special.ndtr(-noncentrality - critical * s)
    return top / 2 * float(np.sum(_WEIGHTS * np.exp(log_density) * tails))


@lru_cache(maxsize=4096)
def detectable(df: float, level: float = LEVEL, power: float = POWER) -> float:
    """The true difference, in standard errors, that is found with this power.

    By the Illinois method (Dowell & Jarratt 1971), until the power is met to 1e-13.
    """

    def missing(at: float) -> float:
        return power - power_of(at, df, level)

    low, high = 0.0, 2.0
    too_low, too_high = power - level, missing(high)
    while too_high > 0:
        low, too_low, high = high, too_high, 2 * high
        too_high = missing(high)
    before = 0.0
    for _ in range(60):
        middle = (low * too_high - high * too_low) / (too_high - too_low)
        found = missing(middle)
        if abs(found) < 1e-13:
            return middle
        # An end that stays a second time counts half, or the other would creep.
        stays = 0.5 if found * before > 0 else 1.0
        if found > 0:
            low, too_low, too_high = middle, found, too_high * stays
        else:
            high, too_high, too_low = middle, found, too_low * stays
        before = found
    return high
