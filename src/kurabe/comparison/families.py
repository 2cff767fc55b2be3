"""Families of tests over a whole table: Holm's and Benjamini and Hochberg's corrections.

A table has many rows and pairs; if each kept its own 5 %, most long tables would show some false
"≠", whether anything differs elsewhere or not. So the whole table is one procedure:

1. the headline rows (`kurabe.comparison.metrics.HEADLINES`) of all pairs are one family, tested
   by Holm's weighted procedure (Holm 1979, section 4) at `HEADLINE_LEVEL`: pairs with the
   baseline share `PRIMARY_WEIGHT` of it, all others the rest, and the weight of what was found
   goes on to what waits. At most that share of tables has any false "≠" there, wherever else true
   differences lie;
2. a pair that was found in a headline row has its other rows tested, those of all such pairs
   together by Benjamini & Hochberg (1995) at `BEHIND_LEVEL`: of the "≠" there, at most that share
   is false on average;
3. any other row of any pair may differ alone, by Holm at `LONE_LEVEL` over all of them.

Where nothing differs, the first and third step alone are open: 5 % together.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05
HEADLINE_LEVEL = 0.048
LONE_LEVEL = 0.002
BEHIND_LEVEL = 0.04
PRIMARY_WEIGHT = 0.85

Pair = tuple[str, str]
Floats = NDArray[np.float64]


def weighted_holm(p: Floats, weights: Floats) -> Floats:
    """Adjusted p-values where hypothesis i may use w_i of the level; weights are above zero.

    In the order of p / w: the largest so far of p_i / w_i · Σ w over those not yet rejected, ≤ 1.
    """
    ratio = p / weights
    order = np.argsort(ratio, kind="stable")
    waiting = np.cumsum(weights[order][::-1])[::-1]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(ratio[order] * waiting))
    return adjusted


def benjamini_hochberg(p: Floats) -> Floats:
    """Adjusted p-values: the smallest over larger p of m / rank · p, ≤ 1."""
    order = np.argsort(p, kind="stable")
    ratio = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(ratio[::-1])[::-1])
    return adjusted


def weights_of(pairs: Sequence[Pair], baseline: str) -> Floats:
    """Each pair's share of a level, together 1; where all pairs are of one kind, they share all."""
    primary = np.array([baseline in pair for pair in pairs], dtype=bool)
    share = PRIMARY_WEIGHT if primary.any() and not primary.all() else 1.0
    of_primary = share / max(1, primary.sum())
    of_others = (1 - share if primary.any() else 1.0) / max(1, (~primary).sum())
    return np.where(primary, of_primary, of_others)
