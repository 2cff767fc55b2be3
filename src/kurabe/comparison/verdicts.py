"""When two measured values differ: marks of pairs and rows, one procedure for a whole table.

At each planned look (`kurabe.planned_looks`) every row and pair has its p
(`kurabe.comparison.p_values`), and the families of `kurabe.comparison.families` say which of them
are found, at the look's share of their level. What was found stays found, with the interval of its
look. A pair is "≠" in a row where it was found; else "≈" where two one-sided tests (Schuirmann
1987) put the difference inside the margin of relevance, those of the whole table corrected together
by Benjamini and Hochberg at 5 %; else "?".

Times and memory are the machine's as much as the method's. Their null hypothesis is therefore the
whole margin, |δ| ≤ m: "≠" means that the interval lies outside it. What cost nothing, and what
never varies, is compared exactly.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kurabe.comparison.families import (
    BEHIND_LEVEL,
    HEADLINE_LEVEL,
    LEVEL,
    LONE_LEVEL,
    Floats,
    Pair,
    benjamini_hochberg,
    weighted_holm,
    weights_of,
)
from kurabe.comparison.metrics import METRICS, Metric, headlines, runs_of
from kurabe.comparison.p_values import Evidence, Measured, Spread, Values, evidence, measured
from kurabe.comparison.t_tests import FEWEST_BLOCKS, Difference, detectable
from kurabe.comparison.verdict import Family, Mark, Verdict
from kurabe.planned_looks import planned_looks, shares


def fewest_images(metric: Metric, last_look: int) -> int:
    """Below so many images a share's steps exceed its margin even over all planned blocks."""
    return math.ceil(1 / (metric.margin * math.sqrt(last_look)) - 1e-9) if metric.share else 0


def judge_rows(
    rows: Mapping[str, Values],
    baseline: str,
    floor_errors: Mapping[str, float] | None = None,
    images: Mapping[str, Mapping[str, int]] | None = None,
    looks: Sequence[int] | None = None,
    reached: Mapping[str, int] | None = None,
) -> dict[str, list[Verdict]]:
    """The verdicts on all rows of a study, by metric, on every pair of columns with values.

    The columns are all of the study's: a pair's verdict does not depend on what is shown.
    """
    return verdicts_of(decide(rows, baseline, floor_errors, images, looks, reached), rows)


def verdicts_of(procedure: "Procedure", rows: Mapping[str, Values]) -> dict[str, list[Verdict]]:
    """What a procedure found, row by row and pair by pair; what is exact is compared as it is."""
    found = procedure.found
    known = procedure.metrics
    now = evidence(found, math.inf, [math.inf] * len(found.columns))
    verdicts: dict[str, list[Verdict]] = {}
    for key, values in rows.items():
        metric = known[key]
        if metric.scale == "untested":
            verdicts[key] = []
        elif metric.scale == "exact":
            verdicts[key] = judge_exact(values)
        else:
            row = found.metrics.index(metric)
            verdicts[key] = [
                _exactly(metric, pair, values) or procedure.verdict(row, place, now)
                for place, pair in enumerate(found.pairs)
                if values.get(pair[0]) and values.get(pair[1])
            ]
    return verdicts


def decide(
    rows: Mapping[str, Values],
    baseline: str,
    floor_errors: Mapping[str, float] | None = None,
    images: Mapping[str, Mapping[str, int]] | None = None,
    looks: Sequence[int] | None = None,
    reached: Mapping[str, int] | None = None,
    metrics: Mapping[str, Metric] = METRICS,
    heads: Sequence[str] | None = None,
) -> "Procedure":
    """The families of a table after every planned look that was reached.

    Args:
        rows: the values of every metric that the study measured, by the metric's id.
        baseline: pairs with it share most of the level.
        floor_errors: the standard errors of real-against-real floors, where they are known.
        images: by metric and column, over how many images a share was counted.
        looks: those planned; without them the blocks that are there were.
        reached: up to which block each column's runs have ended; else its last block with a value.
        metrics: what the rows are; a study of numbers declares its own.
        heads: the headline rows, where they are declared; else those of `headlines`.
    """
    last = _last_blocks(rows)
    reached = last if reached is None else reached
    looks = tuple(looks or planned_looks(max(last.values(), default=0)))
    pairs = _pairs(list(last), baseline)
    tested = {metrics[key]: of for key, of in rows.items() if metrics[key].scale in _TESTED}
    found = measured(tested, pairs, images or {}, floor_errors or {})
    heads = headlines(runs_of(rows)) if heads is None else heads
    few = _too_few(found, looks[-1])
    procedure = Procedure(found, heads, baseline, few, looks, metrics)
    at = [reached.get(column, 0) for column in found.columns]
    for look, share in zip(looks, shares(looks), strict=True):
        if sum(of >= look for of in at) > 1:
            procedure.take(look, share, evidence(found, look, at))
    return procedure


_TESTED = ("linear", "log")


def _last_blocks(rows: Mapping[str, Values]) -> dict[str, int]:
    """The last block in which each column has any value, in the columns' order."""
    last: dict[str, int] = {}
    for values in rows.values():
        for column, blocks in values.items():
            if blocks:
                last[column] = max(last.get(column, 0), *blocks)
    order = dict.fromkeys(column for values in rows.values() for column in values)
    return {column: last[column] for column in order if column in last}


def _pairs(columns: Sequence[str], baseline: str) -> list[Pair]:
    """Every two columns, the baseline first where it is one of them."""
    pairs = itertools.combinations(columns, 2)
    return [(b, a) if b == baseline else (a, b) for a, b in pairs]


def _too_few(found: Measured, last_look: int) -> NDArray[np.bool_]:
    images = found.counted
    least = np.array([fewest_images(metric, last_look) for metric in found.metrics], dtype=float)
    return (images > 0) & (images < least[:, None])


@dataclass
class Procedure:
    """The families of a table, look after look.

    Attributes:
        heads: ids of the headline rows. few: rows and pairs that get no mark.
        there: rows and pairs that both columns have values in. weights: the pairs' shares of their
            row's level.
        taken: each look that was taken, and what was known at it.
        differs, equal: at which of them each row and pair was found; −1 where it was not.
        seen: the last of them at which a row and pair was tested and not found before; level and
            p are of that one: the own p that would have been found, and the corrected p.
        open: the pairs that were found in a headline row. spent: the share of the error so far.
    """

    found: Measured
    heads: Sequence[str]
    baseline: str
    few: NDArray[np.bool_]
    looks: tuple[int, ...]
    metrics: Mapping[str, Metric] = field(default_factory=lambda: METRICS)
    taken: list[tuple[int, Evidence]] = field(default_factory=list[tuple[int, Evidence]])

    def __post_init__(self) -> None:
        shape = len(self.found.metrics), len(self.found.pairs)
        known = np.isfinite(self.found.values).sum(-1) > 0
        both: NDArray[np.bool_] = known[:, self.found.first] & known[:, self.found.second]
        self.there = both
        self.weights = np.zeros(shape)
        for row, there in enumerate(self.there):
            pairs = [self.found.pairs[place] for place in np.flatnonzero(there)]
            self.weights[row, there] = weights_of(pairs, self.baseline)
        self.head = np.array([m.id in self.heads for m in self.found.metrics], dtype=bool)
        self.differs = np.full(shape, -1)
        self.equal = np.full(shape, -1)
        self.seen = np.full(shape, -1)
        self.level = np.zeros(shape)
        self.p = np.ones(shape)
        self.open = np.zeros(shape[1], dtype=bool)
        self.spent = 0.0

    def take(self, look: int, share: float, of: Evidence) -> None:
        """One more look: what is found at it, at its share of each family's level."""
        place = len(self.taken)
        self.taken.append((look, of))
        self.spent += share
        usable = of.testable & ~self.few
        p, lone_p = (np.where(usable, some, 1.0) for some in (of.p, np.maximum(of.p, of.own_p)))
        adjusted, level = np.ones_like(p), np.zeros_like(p)
        rows, rest = np.flatnonzero(self.head), np.flatnonzero(~self.head)
        for family, own, total in ((rows, p, HEADLINE_LEVEL), (rest, lone_p, LONE_LEVEL)):
            adjusted[family], level[family] = self._holm(family, own, total * share)
        newly = (adjusted[rows] < LEVEL).any(0) & ~self.open
        self.open |= newly
        # A pair whose gate opens now has spent nothing behind it before.
        may = np.where(newly, self.spent, share)
        if self.open.any() and len(rest):
            behind, least = self._behind(rest, p, may)
            adjusted[rest] = np.minimum(adjusted[rest], behind)
            level[rest] = np.maximum(level[rest], least)
        fresh = self.differs < 0
        self.seen[usable & fresh] = place
        self.level = np.where(usable & fresh, level, self.level)
        self.p = np.where(usable & fresh, adjusted, self.p)
        self.differs[usable & fresh & (adjusted < LEVEL)] = place
        close = np.ones_like(p)
        close[self.there] = benjamini_hochberg(np.where(usable, of.equal_p, 1.0)[self.there])
        self.equal[usable & (self.equal < 0) & (close < LEVEL * share)] = place

    def _holm(self, family: NDArray[np.int64], p: Floats, level: float) -> tuple[Floats, Floats]:
        """Corrected p, brought to 5 %, and the own p that is found while the rest stays as it is.

        Rows share the level alike, their pairs by weight. What an earlier look found has handed
        its weight on.
        """
        there = self.there[family]
        corrected, own_level = np.ones(there.shape), np.zeros(there.shape)
        weights = self.weights[family][there] / max(1, len(family))
        own = np.where(self.differs[family] >= 0, 0.0, p[family])[there]
        adjusted = np.minimum(1.0, weighted_holm(own, weights) * LEVEL / level)
        waiting = adjusted >= LEVEL
        corrected[there] = adjusted
        own_level[there] = (
            level * weights / (weights[waiting].sum() + np.where(waiting, 0.0, weights))
        )
        return corrected, own_level

    def _behind(self, rest: NDArray[np.int64], p: Floats, may: Floats) -> tuple[Floats, Floats]:
        """The same for the rows behind open gates, by Benjamini and Hochberg; 1 and 0 elsewhere."""
        there = self.there[rest] & self.open
        corrected, own_level = np.ones(there.shape), np.zeros(there.shape)
        share = np.broadcast_to(may, there.shape)[there]
        own = np.where(self.differs[rest] >= 0, 0.0, p[rest])[there] / share
        adjusted = np.minimum(1.0, benjamini_hochberg(own) * LEVEL / BEHIND_LEVEL)
        rank = min(len(own), int((adjusted < LEVEL).sum()) + 1)
        corrected[there] = adjusted
        own_level[there] = BEHIND_LEVEL * rank / max(1, len(own)) * share
        return corrected, own_level

    @property
    def strictness(self) -> dict[int, float]:
        """What p was multiplied by at most, for skewness, by the look."""
        return {look: float(of.strictness.max(initial=1.0)) for look, of in self.taken}

    def verdict(self, row: int, pair: int, now: Evidence) -> Verdict:
        """What stands in a row for a pair of columns."""
        names = self.found.pairs[pair]
        family: Family = "primary" if self.baseline in names else "secondary"
        differs, equal = int(self.differs[row, pair]), int(self.equal[row, pair])
        place = differs if differs >= 0 else equal if equal >= 0 else int(self.seen[row, pair])
        if place < 0:
            return Verdict(
                *names,
                family,
                None if self.few[row, pair] else "?",
                difference=_difference(now, now.paired, row, pair),
                margin=float(now.margin[row, pair]),
                images=int(self.found.counted[row, pair]) if self.few[row, pair] else None,
            )
        look, of = self.taken[place]
        tested = _difference(of, of.tested, row, pair)
        difference = tested if differs >= 0 else _difference(of, of.paired, row, pair)
        assert tested is not None
        assert difference is not None
        margin = float(of.margin[row, pair])
        mark: Mark = "≠" if differs >= 0 else "≈" if equal >= 0 else "?"
        beyond = margin if self.found.metrics[row].section == "cost" else 0.0
        # What p itself may be: of one test, and before it is multiplied.
        level = float(self.level[row, pair] / (of.tests * of.strictness)[row, pair])
        gap, needed = max(abs(difference.mean), margin + beyond), None
        priced = mark == "?" and gap > beyond
        if priced:
            needed = _look_to_see(tested, gap - beyond, level, look, self.looks)
        return Verdict(
            *names,
            family,
            mark,
            small=mark == "≠" and difference.within(margin, 0.95),
            difference=difference,
            p=float(self.p[row, pair]),
            gated=mark == "?" and float(of.p[row, pair]) < LEVEL,
            look=look,
            margin=margin,
            smallest_gap=beyond + tested.smallest_gap(_rounded(level)),
            blocks_needed=needed,
            gap=gap if priced else None,
        )


def _difference(of: Evidence, by: Spread, row: int, pair: int) -> Difference | None:
    if of.blocks[row, pair] < 2:
        return None
    return Difference(
        float(of.mean[row, pair]),
        float(by.error[row, pair]),
        float(by.df[row, pair]),
        int(of.blocks[row, pair]),
    )


def _rounded(level: float) -> float:
    """To three digits, downwards: nothing claims more power than it has, and tables are kept."""
    digits = 10.0 ** (math.floor(math.log10(level)) - 2)
    return max(math.floor(level / digits) * digits, 1e-12)


def _look_to_see(
    difference: Difference, gap: float, level: float, look: int, looks: Sequence[int]
) -> int | None:
    """The next planned look at which a true difference of `gap` is seen at 80 % power.

    At a later look the spread is taken to be the same and the level that look's share. Degrees of
    freedom are rounded down, which is never too few blocks and lets tables be kept.
    """
    share = dict(zip(looks, shares(looks), strict=True))
    for later in (planned for planned in looks if planned > look):
        blocks = difference.blocks + later - look
        error = difference.standard_error * math.sqrt(difference.blocks / blocks)
        df = difference.df * (blocks - 1) / (difference.blocks - 1)
        then = level * share[later] / share[look]
        if then > 0 and error * detectable(math.floor(df + 1e-9), _rounded(then)) <= gap:
            return later
    return None


def _exactly(metric: Metric, pair: Pair, values: Values) -> Verdict | None:
    """The verdict on two columns of which one cost nothing, or neither ever varies; else None."""
    if metric.section != "cost":
        return None
    first, second = (set(values[column].values()) for column in pair)
    enough = min(len(values[column]) for column in pair) >= FEWEST_BLOCKS
    free = first == {0.0} or second == {0.0}
    if not free and not (enough and len(first) == len(second) == 1):
        return None
    if first == second:
        return Verdict(*pair, "exact", None)
    small = not free and abs(math.log(first.pop() / second.pop())) <= math.log1p(metric.relative)
    return Verdict(*pair, "exact", "≠", small=small)


def judge_exact(values: Values) -> list[Verdict]:
    """Values without spread, compared as they are: "≠" or, where they are equal, no mark."""
    columns = {column: set(blocks.values()) for column, blocks in values.items() if blocks}
    return [
        Verdict(first, second, "exact", "≠" if columns[first] != columns[second] else None)
        for first, second in itertools.combinations(columns, 2)
    ]


def row_mark(marks: Sequence[Mark | None]) -> Mark | None:
    """A row's mark from its pairs': ≠ if any is, ≈ if all are that have one, else "?".

    No mark where there is no pair that has one: values without spread agree, or too few images.
    """
    told = [mark for mark in marks if mark is not None]
    if "≠" in told:
        return "≠"
    if not told:
        return None
    return "≈" if all(mark == "≈" for mark in told) else "?"
