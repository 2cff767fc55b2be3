"""The marks' own proof: tables in which nothing differs, and tables with a planted gap.

A pool holds many cheap real runs of one method: several fresh initialisations in each of many
blocks. A table drawn from it deals different runs of the same blocks to its columns, so every
"≠" in it is false. The share of tables with any, in whatever row, and its upper confidence bound
are what a reader may expect of a real table. With a gap added to one column, the share of tables
that find it is the power.

Tables drawn from one pool share runs, so the bound (Clopper & Pearson 1934) is that of the
drawing, given the pool.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special  # pyright: ignore[reportMissingTypeStubs]

from kurabe.comparison.differences import Test, paired
from kurabe.comparison.verdicts import judge_rows
from kurabe.randomness import generator

# One run: its block's number under "block", and its metrics by id.
Run = Mapping[str, float]
Values = dict[str, dict[int, float]]


@dataclass(frozen=True)
class Share:
    """So many of so many tables."""

    found: int
    tables: int

    @property
    def share(self) -> float:
        """The share itself."""
        return self.found / self.tables

    def upper(self, level: float = 0.95) -> float:
        """The one-sided upper confidence bound (Clopper-Pearson)."""
        if self.found == self.tables:
            return 1.0
        return float(special.betaincinv(self.found + 1, self.tables - self.found, level))

    def lower(self, level: float = 0.95) -> float:
        """The one-sided lower confidence bound (Clopper-Pearson)."""
        if self.found == 0:
            return 0.0
        return float(special.betaincinv(self.found, self.tables - self.found + 1, 1 - level))


@dataclass(frozen=True)
class NothingDiffers:
    """Shares of tables with a false "≠": in any row, among pairs with the baseline, by row."""

    anywhere: Share
    primary: Share
    by_metric: Mapping[str, Share]


def nothing_differs(
    pool: Sequence[Run],
    metrics: Sequence[str],
    *,
    columns: int = 3,
    blocks: int = 5,
    tables: int = 1000,
    seed: int = 0,
    spreads: Sequence[float] = (1.0,),
    test: Test = paired,
) -> NothingDiffers:
    """The A/A study: tables of one method against itself.

    spreads: factors on the columns' deviations from the pool's mean, taken in turn, so that
    unequal spreads are tried too. ValueError where the pool is too small for such tables.
    """
    deal = _Dealer(pool, columns, blocks, seed)
    anywhere = primary = 0
    by_metric = dict.fromkeys(metrics, 0)
    for table in range(tables):
        rows = deal.rows(table, metrics, spreads)
        false = {
            metric: [verdict for verdict in verdicts if verdict.mark == "≠"]
            for metric, verdicts in judge_rows(rows, "0", test=test).items()
        }
        for metric, wrong in false.items():
            by_metric[metric] += bool(wrong)
        anywhere += any(false.values())
        primary += any(v.family == "primary" for wrong in false.values() for v in wrong)
    return NothingDiffers(
        Share(anywhere, tables),
        Share(primary, tables),
        {metric: Share(found, tables) for metric, found in by_metric.items()},
    )


def planted_gap(
    pool: Sequence[Run],
    metric: str,
    *,
    metrics: Sequence[str] = (),
    gap: float = 3.0,
    columns: int = 2,
    blocks: int = 5,
    tables: int = 1000,
    seed: int = 0,
    spreads: Sequence[float] = (1.0,),
    test: Test = paired,
) -> Share:
    """The share of tables that find a gap, in standard deviations of the pool's runs.

    The gap is added to the last column in that metric alone, after the spreads; `metrics` are the
    table's other rows. Found means "≠" in the metric's row against the baseline, the first
    column, and the right sign.
    """
    deal = _Dealer(pool, columns, blocks, seed)
    shift = gap * float(np.std([run[metric] for run in pool], ddof=1))
    last = str(columns - 1)
    keys = tuple(dict.fromkeys((metric, *metrics)))
    found = 0
    for table in range(tables):
        rows = deal.rows(table, keys, spreads)
        rows[metric][last] = {b: value + shift for b, value in rows[metric][last].items()}
        for verdict in judge_rows(rows, "0", test=test)[metric]:
            if (verdict.first, verdict.second, verdict.mark) == ("0", last, "≠"):
                found += verdict.difference is not None and verdict.difference.mean > 0
    return Share(found, tables)


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
    return {
        column: {block: mean + spreads[i % len(spreads)] * (v - mean) for block, v in of.items()}
        for i, (column, of) in enumerate(values.items())
    }
