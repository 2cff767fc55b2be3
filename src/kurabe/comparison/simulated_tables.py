"""The marks' own proof: tables in which nothing differs, and tables with planted differences.

A pool holds many cheap real runs of one method: several fresh initialisations in each of many
blocks. A table drawn from it deals different runs of the same blocks to its columns, so every
"≠" in it is false. With gaps added to the last column in some rows, the "≠" of other pairs and of
other rows are false, and how often a gap is found is the power.

Tables drawn from one pool share runs, and another pool would give other shares. Bounds count both:
the variance over the pool's blocks by the delete-one jackknife (Efron & Stein 1981), each share
without a block being that of the tables that do not hold it, and the binomial one of the drawing.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import special  # pyright: ignore[reportMissingTypeStubs]

from kurabe.comparison.families import Pair
from kurabe.comparison.verdicts import decide
from kurabe.randomness import generator

# One run: its block's number under "block", and its metrics by id.
Run = Mapping[str, float]
Values = dict[str, dict[int, float]]


@dataclass(frozen=True)
class Share:
    """So many of so many, with the one-sided bounds of Clopper and Pearson (1934)."""

    found: int
    tables: int

    @property
    def share(self) -> float:
        """The share itself."""
        return self.found / self.tables

    def upper(self, level: float = 0.95) -> float:
        """The one-sided upper confidence bound."""
        if self.found == self.tables:
            return 1.0
        return float(special.betaincinv(self.found + 1, self.tables - self.found, level))

    def lower(self, level: float = 0.95) -> float:
        """The one-sided lower confidence bound."""
        if self.found == 0:
            return 0.0
        return float(special.betaincinv(self.found, self.tables - self.found + 1, 1 - level))


@dataclass(frozen=True, eq=False)
class DealtShare:
    """A share over tables dealt from a pool: the mean of `of`, weighted by `weights`.

    of: each table's own value between 0 and 1. held: (tables, blocks) whether a table holds the
    pool's block.
    """

    of: NDArray[np.float64]
    held: NDArray[np.bool_]
    weights: NDArray[np.float64] | None = None

    @cached_property
    def tables(self) -> int:
        """How many tables."""
        return len(self.of)

    @cached_property
    def share(self) -> float:
        """The share itself; 0 where nothing has any weight."""
        return self._mean(np.ones(len(self.of), dtype=bool))

    def _mean(self, among: NDArray[np.bool_]) -> float:
        weights = np.ones(len(self.of)) if self.weights is None else self.weights
        weight = float(weights[among].sum())
        return float((self.of * weights)[among].sum()) / weight if weight else 0.0

    @cached_property
    def error(self) -> float:
        """The standard error, of the drawing and of the pool together."""
        tables, drawing = len(self.of), self.share * (1 - self.share)
        blocks = self.held.shape[1]
        left = [~self.held[:, block] for block in range(blocks)]
        if min(among.sum() for among in left) == 0:
            return math.sqrt(drawing / tables)
        without = np.array([self._mean(among) for among in left])
        jackknife = (blocks - 1) / blocks * float(((without - without.mean()) ** 2).sum())
        # What the drawing alone lets the shares without a block vary by.
        alone = sum(drawing * (1 / among.sum() - 1 / tables) for among in left)
        of_pool = max(0.0, jackknife - (blocks - 1) / blocks * alone)
        return math.sqrt(of_pool + drawing / tables)

    def upper(self, level: float = 0.95) -> float:
        """The one-sided upper confidence bound, never below Clopper and Pearson's (1934)."""
        exact = Share(round(self.share * len(self.of)), len(self.of)).upper(level)
        return min(1.0, max(exact, self.share + special.ndtri(level) * self.error))

    def lower(self, level: float = 0.95) -> float:
        """The one-sided lower confidence bound, never above Clopper and Pearson's."""
        exact = Share(round(self.share * len(self.of)), len(self.of)).lower(level)
        return max(0.0, min(exact, self.share - special.ndtri(level) * self.error))


@dataclass(frozen=True, eq=False)
class Shares:
    """What tables of one world show.

    Attributes:
        false: tables with any false "≠".
        of_marks: of all "≠", those that are false.
        found: tables that find the planted gap in a row between the baseline and the last column.
        by_metric: tables with a false "≠" by row.
    """

    false: DealtShare
    of_marks: DealtShare
    found: Mapping[str, DealtShare]
    by_metric: Mapping[str, DealtShare]


def dealt(
    pool: Sequence[Run],
    metrics: Sequence[str],
    *,
    planted: Sequence[str] = (),
    gap: float = 3.0,
    columns: int = 3,
    looks: Sequence[int] = (5,),
    plan: Sequence[int] | None = None,
    tables: int = 1000,
    seed: int = 0,
    spreads: Sequence[float] = (1.0,),
) -> Shares:
    """Tables of one method against itself, with gaps in the last column's `planted` rows.

    gap: in standard deviations of the pool's runs. looks: those that are taken; plan: all that
    were planned, by default as many. spreads: factors on the columns' deviations from the pool's
    mean, taken in turn. Any "≠" that no gap was planted for is false, and so is one of the wrong
    sign. ValueError where the pool is too small for such tables.
    """
    deal = _Dealer(pool, columns, looks[-1], seed)
    last, held = str(columns - 1), np.zeros((tables, len(deal.blocks)), dtype=bool)
    shifts = {key: gap * float(np.std([run[key] for run in pool], ddof=1)) for key in planted}
    wrong = np.zeros((tables, len(metrics)), dtype=bool)
    right = np.zeros((tables, len(metrics)), dtype=bool)
    counts = np.zeros((tables, 2))
    for table in range(tables):
        rows = deal.rows(table, metrics, spreads)
        held[table, deal.drawn(table)] = True
        for key, shift in shifts.items():
            rows[key][last] = {block: value + shift for block, value in rows[key][last].items()}
        procedure = decide(rows, "0", looks=plan or looks)
        differs = procedure.differs >= 0
        keys = [metric.id for metric in procedure.found.metrics]
        true = _true(keys, procedure.found.pairs, planted, last)
        means = np.stack([of.mean for _, of in procedure.taken])
        signs = np.take_along_axis(means, np.maximum(procedure.differs, 0)[None], 0)[0]
        good = differs & true & (signs > 0)
        order = [keys.index(key) for key in metrics]
        wrong[table] = (differs & ~good).any(1)[order]
        right[table] = good[:, procedure.found.pairs.index(("0", last))][order]
        counts[table] = (differs & ~good).sum(), differs.sum()
    share = np.divide(counts[:, 0], counts[:, 1], out=np.zeros(tables), where=counts[:, 1] > 0)
    return Shares(
        DealtShare(wrong.any(1).astype(float), held),
        DealtShare(share, held, counts[:, 1]),
        {key: DealtShare(right[:, metrics.index(key)].astype(float), held) for key in planted},
        {key: DealtShare(wrong[:, place].astype(float), held) for place, key in enumerate(metrics)},
    )


def _true(
    keys: Sequence[str], pairs: Sequence[Pair], planted: Sequence[str], last: str
) -> NDArray[np.bool_]:
    """Where a difference was planted: the last column is each of its pairs' second."""
    rows = np.array([key in planted for key in keys], dtype=bool)
    return rows[:, None] & np.array([second == last for _, second in pairs], dtype=bool)[None, :]


def shared_luck(pool: Sequence[Run], metric: str) -> float:
    """The share of a metric's variance that runs of one block have in common, at most 1.

    The intraclass correlation of a one-way layout, (B − W) / (B + (k − 1) W) with the mean squares
    between and within blocks, k runs each (Fisher 1925); below 0 where blocks share nothing.
    ValueError where blocks have fewer than two runs or not equally many.
    """
    runs: dict[float, list[float]] = {}
    for run in pool:
        runs.setdefault(run["block"], []).append(run[metric])
    sizes = {len(of) for of in runs.values()}
    if len(sizes) != 1 or (k := sizes.pop()) < 2:
        raise ValueError("blocks must have equally many runs, at least two")
    values = np.array(list(runs.values()))
    between = k * float(values.mean(1).var(ddof=1))
    within = float(values.var(1, ddof=1).mean())
    whole = between + (k - 1) * within
    return (between - within) / whole if whole else 0.0


class _Dealer:
    """Deals runs of a pool: hands[column][block] is a run, no run twice in a table."""

    def __init__(self, pool: Sequence[Run], columns: int, blocks: int, seed: int) -> None:
        runs: dict[float, list[Run]] = {}
        for run in pool:
            runs.setdefault(run["block"], []).append(run)
        self.blocks = [of for _, of in sorted(runs.items()) if len(of) >= columns]
        if len(self.blocks) < blocks:
            raise ValueError(
                f"{len(self.blocks)} blocks of the pool have {columns} runs; tables need {blocks}"
            )
        self.pool, self.columns, self.size, self.seed = pool, columns, blocks, seed
        self.means: dict[str, float] = {}

    def drawn(self, table: int) -> NDArray[np.int64]:
        """The places of a table's blocks in the pool."""
        rng = generator(self.seed, "dealt tables", table)
        return rng.permutation(len(self.blocks))[: self.size]

    def table(self, number: int) -> list[list[Run]]:
        rng = generator(self.seed, "dealt tables", number)
        hands: list[list[Run]] = [[] for _ in range(self.columns)]
        for block in rng.permutation(len(self.blocks))[: self.size]:
            runs = self.blocks[int(block)]
            for hand, index in zip(hands, rng.permutation(len(runs)), strict=False):
                hand.append(runs[int(index)])
        return hands

    def rows(
        self, table: int, metrics: Sequence[str], spreads: Sequence[float]
    ) -> dict[str, Values]:
        """The rows of a table, each column's deviations from the pool's mean stretched."""
        hands = self.table(table)
        found: dict[str, Values] = {}
        for metric in metrics:
            values = {
                str(column): {block: run[metric] for block, run in enumerate(hand, start=1)}
                for column, hand in enumerate(hands)
            }
            stretched = any(factor != 1 for factor in spreads)
            found[metric] = _stretched(values, self.mean(metric), spreads) if stretched else values
        return found

    def mean(self, metric: str) -> float:
        if metric not in self.means:
            self.means[metric] = float(np.mean([run[metric] for run in self.pool]))
        return self.means[metric]


def _stretched(values: Values, mean: float, spreads: Sequence[float]) -> Values:
    factors = itertools.cycle(spreads)
    return {
        column: {block: mean + factor * (value - mean) for block, value in of.items()}
        for (column, of), factor in zip(values.items(), factors, strict=False)
    }
