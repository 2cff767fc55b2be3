"""Looks at a study's results: after how many blocks marks are made, and what error each may spend.

Every look at growing results is another chance to be wrong. The looks are therefore planned when
the study is made, and each has its share of the error: the sum over all looks is what the table
states (Bonferroni over looks, valid whatever the dependence; error spending as in Lan & DeMets
1983, "Discrete sequential boundaries for clinical trials", whose function of time is here `spent`).
Most is spent at five blocks, where studies usually stop; little before, where variances of two or
three degrees of freedom say little.
"""

import itertools
from collections.abc import Sequence
from functools import lru_cache

FEWEST_BLOCKS = 3
USUAL = (5, 7, 10, 15, 20)
# The share of the error that is spent once so many blocks are there; straight in between.
_SPENT = ((2, 0.0), (3, 0.03), (4, 0.3), (5, 0.85), (20, 1.0))


def planned_looks(blocks: int) -> tuple[int, ...]:
    """The looks of a study of so many planned blocks: these, then the usual ones beyond them."""
    first = blocks if blocks >= FEWEST_BLOCKS else USUAL[0]
    return (first, *(look for look in USUAL if look > first))


def spent(blocks: int) -> float:
    """The share of the error that may be spent until so many blocks are there."""
    for (low, below), (high, above) in itertools.pairwise(_SPENT):
        if blocks <= high:
            return max(0.0, below + (above - below) * (blocks - low) / (high - low))
    return 1.0


@lru_cache(maxsize=256)
def shares(looks: tuple[int, ...]) -> tuple[float, ...]:
    """What each look may spend; together 1, since the last spends what is left."""
    until = [0.0, *(spent(look) for look in looks[:-1]), 1.0]
    return tuple(after - before for before, after in itertools.pairwise(until))


def wrong_looks(looks: Sequence[int]) -> str | None:
    """What is wrong with looks that someone planned; None where nothing is."""
    rising = all(a < b for a, b in itertools.pairwise(looks))
    if not looks or not rising or looks[0] < FEWEST_BLOCKS:
        return (
            "looks are numbers of blocks that rise from three or more, "
            "like looks = [5, 7, 10, 15, 20]"
        )
    return None
