"""Families of tests: Holm's correction, plain and weighted, and the gate of a pair of columns.

A table has many rows; if each kept its own 5 %, most long tables in which nothing differs would
show some "≠". So a pair of columns has a gate in front of its rows. The gate's p is that of the
pair's headline rows, declared before any run (`kurabe.comparison.metrics.HEADLINES`), by
Bonferroni: min(1, h · min p) over h rows. Over the pairs of a table it is corrected by Holm's
weighted procedure (Holm 1979, section 4), pairs with the baseline sharing `PRIMARY_WEIGHT` of the
level and all other pairs the rest; the weight of a pair that is found goes on to the others.
Both steps hold for any dependence between rows, columns and pairs, so of tables in which nothing
differs at most 5 % have an open gate at all.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEVEL = 0.05
PRIMARY_WEIGHT = 0.8

Pair = tuple[str, str]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: max over smaller p of (m − rank) · p, ≤ 1."""
    return weighted_holm(p, [1.0] * len(p))


def weighted_holm(p: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Adjusted p-values where hypothesis i may use w_i of the level; weights are above zero.

    In the order of p / w: the largest so far of p_i / w_i · Σ w over those not yet rejected, ≤ 1.
    """
    order = sorted(range(len(p)), key=lambda index: p[index] / weights[index])
    # Σ w over those not yet rejected, from the last, which is alone.
    left = list(itertools.accumulate(weights[index] for index in reversed(order)))
    adjusted = [0.0] * len(p)
    highest = 0.0
    for index, waiting in zip(order, reversed(left), strict=True):
        highest = max(highest, min(1.0, p[index] / weights[index] * waiting))
        adjusted[index] = highest
    return adjusted


@dataclass(frozen=True)
class Gate:
    """Whether two columns differ at all.

    Attributes:
        p: of the pair's headline rows together, corrected over all pairs.
        level: a headline row whose own p is below it opens the gate, while the pairs found so far
            stay found.
    """

    p: float
    level: float

    @property
    def open(self) -> bool:
        """Whether a row of the pair may be "≠"."""
        return self.p < LEVEL


OPEN = Gate(0.0, LEVEL)
CLOSED = Gate(1.0, 0.0)
# By the two columns, in either order.
Gates = Mapping[frozenset[str], Gate]


def gates_of(p: Mapping[Pair, Sequence[float]], baseline: str) -> Gates:
    """The gate of each pair from the p-values of its headline rows, 1 where one is not tested.

    All pairs have as many. Where all pairs are with the baseline, they share the whole level.
    """
    primary = [pair for pair in p if baseline in pair]
    others = len(p) - len(primary)
    share = PRIMARY_WEIGHT if primary and others else 1.0
    weights = [
        share / len(primary) if baseline in pair else (1 - share if primary else 1.0) / others
        for pair in p
    ]
    together = [min(1.0, len(rows) * min(rows)) for rows in p.values()]
    adjusted = weighted_holm(together, weights)
    waiting = sum(w for w, a in zip(weights, adjusted, strict=True) if a >= LEVEL)
    gates: dict[frozenset[str], Gate] = {}
    for (pair, rows), weight, own in zip(p.items(), weights, adjusted, strict=True):
        share = weight / (waiting if own >= LEVEL else waiting + weight)
        gates[frozenset(pair)] = Gate(own, LEVEL * share / len(rows))
    return gates
