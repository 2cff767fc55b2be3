"""The marks' own proof: tables in which nothing differs, and tables with a planted gap.

A pool holds many cheap real runs of one method: several fresh initialisations in each of many
blocks. A table drawn from it deals different runs of the same blocks to its columns, so every
"≠" in it is false. The share of tables with any, and its upper confidence bound, is what a reader
may expect of a real table. With a gap added to one column, the share of tables that find it is
the power.

Tables drawn from one pool share runs, so the bound (Clopper & Pearson 1934) is that of the
drawing, given the pool.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from kurabe.comparison.metrics import METRICS
from kurabe.comparison.verdicts import Test, Verdict, judge_metric, paired
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
    """Shares of tables with a false "≠": anywhere, among pairs with the baseline, by metric."""

    anywhere: Share
    primary: Share
    by_metric: Mapping[str, Share]


def nothing_differs(
    pool: Sequence[Run],
    metrics: Sequence[str],
    *,
    columns: int = 3,
    blocks: int = 5,
    tables: int = 400,
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
        hands = deal.table(table)
        false: list[Verdict] = []
        for metric in metrics:
            values = _stretched(deal.values(hands, metric), deal.mean(metric), spreads)
            verdicts = judge_metric(METRICS[metric], values, "0", test=test)
            wrong = [verdict for verdict in verdicts if verdict.mark == "≠"]
            by_metric[metric] += bool(wrong)
            false += wrong
        anywhere += bool(false)
        primary += any(verdict.family == "primary" for verdict in false)
    return NothingDiffers(
        Share(anywhere, tables),
        Share(primary, tables),
        {metric: Share(found, tables) for metric, found in by_metric.items()},
    )


def planted_gap(
    pool: Sequence[Run],
    metric: str,
    *,
    gap: float = 3.0,
    columns: int = 2,
    blocks: int = 5,
    tables: int = 400,
    seed: int = 0,
    spreads: Sequence[float] = (1.0,),
    test: Test = paired,
) -> Share:
    """The share of tables that find a gap, in standard deviations of the pool's runs.

    The gap is added to the last column, after the spreads; found means "≠" against the baseline,
    the first column, and the right sign.
    """
    deal = _Dealer(pool, columns, blocks, seed)
    shift = gap * float(np.std([run[metric] for run in pool], ddof=1))
    last = str(columns - 1)
    found = 0
    for table in range(tables):
        values = _stretched(deal.values(deal.table(table), metric), deal.mean(metric), spreads)
        values[last] = {block: value + shift for block, value in values[last].items()}
        for verdict in judge_metric(METRICS[metric], values, "0", test=test):
            if (verdict.first, verdict.second, verdict.mark) == ("0", last, "≠"):
                found += verdict.difference is not None and verdict.difference.mean > 0
    return Share(found, tables)


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

    def table(self, number: int) -> list[list[Run]]:
        rng = generator(self.seed, "dealt tables", number)
        hands: list[list[Run]] = [[] for _ in range(self.columns)]
        for block in rng.permutation(len(self.blocks))[: self.size]:
            runs = self.blocks[int(block)]
            for hand, index in zip(hands, rng.permutation(len(runs)), strict=False):
                hand.append(runs[int(index)])
        return hands

    def values(self, hands: list[list[Run]], metric: str) -> Values:
        return {
            str(column): {block: run[metric] for block, run in enumerate(hand, start=1)}
            for column, hand in enumerate(hands)
        }

    def mean(self, metric: str) -> float:
        return float(np.mean([run[metric] for run in self.pool]))


def _stretched(values: Values, mean: float, spreads: Sequence[float]) -> Values:
    return {
        column: {block: mean + spreads[i % len(spreads)] * (v - mean) for block, v in of.items()}
        for i, (column, of) in enumerate(values.items())
    }
