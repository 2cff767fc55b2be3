"""When two measured values differ: marks of pairs and rows from tests over blocks of seeds.

Pairs with the baseline are one family per metric, all other pairs a second one; within a family
p (`kurabe.comparison.differences`; of paired tests with moderated variances) is corrected by Holm
(1979). A pair is "≠" in a row where the
corrected p < .05 and the pair's gate is open (`kurabe.comparison.families`), else "≈" where the
90 % interval of the difference lies inside the margin of relevance (two one-sided tests at 5 %,
Schuirmann 1987), else "?".

Times and memory are the machine's as much as the method's, and a cheaper method need not differ
in what it makes. Their null hypothesis is therefore the whole margin, |δ| ≤ m: "≠" means that the
interval lies outside it. Where the gate is closed, they keep a level of their own, COST_LEVEL.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from kurabe.comparison.differences import (
    FEWEST_BLOCKS,
    Blocks,
    Difference,
    Test,
    blocks_to_see,
    moderated,
    paired,
)
from kurabe.comparison.families import CLOSED, LEVEL, OPEN, Gate, Gates, Pair, gates_of, holm
from kurabe.comparison.metrics import METRICS, Metric, headlines

# Per family of a cost row while its pair's gate is closed: five such rows of two families each
# add at most 1 % to the share of tables with a false "≠".
COST_LEVEL = 0.001

Mark = Literal["≠", "≈", "?"]
# A row's values by column.
Values = Mapping[str, Blocks]


@dataclass(frozen=True)
class Rule:
    """How a row's own p becomes a mark.

    Attributes:
        headline: the row is one of those that open gates.
        beyond: only what exceeds the margin counts as a difference.
        closed_level: the row's level where the pair's gate is closed.
    """

    headline: bool = False
    beyond: bool = False
    closed_level: float = 0.0


USUAL, HEADLINE, COST = Rule(), Rule(headline=True), Rule(beyond=True, closed_level=COST_LEVEL)


@dataclass(frozen=True)
class Verdict:
    """What the runs say of one pair of columns.

    Attributes:
        family: "primary" for pairs with the baseline, "secondary" for all others, "exact" for
            values without spread.
        mark: None for values without spread that are equal.
        small: ≠, but the whole 95 % interval lies inside the margin of relevance.
        difference: second minus first, with the pair's own spread; None with fewer than two
            common blocks. What follows it is None with fewer than three.
        p: the row's own, from the moderated spread, corrected within the family.
        gate: the p of the pair's gate; None where the row was judged without one.
        gated: "?" only because the gate is closed: this row alone differs.
        smallest_gap: what would have been seen at 80 % power, at the family's strictest level
            (.05 / its number of pairs) so that Holm's order cannot take it back; for headline
            rows at the gate's, where that is stricter.
        blocks_needed, gap: so many blocks in all would see a true difference of `gap`: the one
            observed, or the margin where that is larger. None where more blocks of this row
            would not open the gate.
    """

    first: str
    second: str
    family: Literal["primary", "secondary", "exact"]
    mark: Mark | None
    small: bool = False
    difference: Difference | None = None
    p: float | None = None
    gate: float | None = None
    gated: bool = False
    margin: float = 0.0
    smallest_gap: float | None = None
    blocks_needed: int | None = None
    gap: float | None = None


def margin_of(metric: Metric, baseline: Sequence[float], floor_error: float = 0.0) -> float:
    """The margin of relevance on the scale that is tested.

    baseline: the baseline's values; floor_error: the standard error of the real-against-real
    floor, which counts where the metric asks for it.
    """
    if metric.scale == "log":
        return math.log1p(metric.relative)
    share = metric.relative * abs(_mean(baseline))
    return max(metric.margin, share, metric.floor_errors * floor_error)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def judge(
    values: Values,
    baseline: str,
    margin: float,
    test: Test = paired,
    gates: Gates | None = None,
    rule: Rule = USUAL,
) -> list[Verdict]:
    """The verdict on every pair of columns that have values, in the columns' order.

    The columns are all of the study's: a pair's verdict does not depend on what is shown. Without
    `gates` the row is judged by itself, as if each stood open.
    """
    pairs = _pairs([column for column, blocks in values.items() if blocks], baseline)
    own, tested = _differences(values, pairs, test)
    families: dict[Literal["primary", "secondary"], list[Pair]] = {
        "primary": [pair for pair in pairs if baseline in pair],
        "secondary": [pair for pair in pairs if baseline not in pair],
    }
    found: dict[Pair, Verdict] = {}
    for family, members in families.items():
        # A pair that cannot be tested yet still counts in the family's size.
        adjusted = holm(
            [1.0 if (d := tested[pair]) is None else _own_p(d, margin, rule) for pair in members]
        )
        for pair, p in zip(members, adjusted, strict=True):
            difference, drawn = own[pair], tested[pair]
            if difference is None or drawn is None or difference.blocks < FEWEST_BLOCKS:
                found[pair] = Verdict(*pair, family, "?", difference=difference, margin=margin)
                continue
            gate = OPEN if gates is None else gates.get(frozenset(pair), CLOSED)
            found[pair] = Verdict(
                *pair,
                family,
                difference=difference,
                p=p,
                gate=None if gates is None else gate.p,
                margin=margin,
                **_marked(difference, drawn, margin, p, gate, rule, len(members)),
            )
    return [found[pair] for pair in pairs]


def _pairs(columns: Sequence[str], baseline: str) -> list[Pair]:
    """Every two columns, the baseline first where it is one of them."""
    pairs = itertools.combinations(columns, 2)
    return [(b, a) if b == baseline else (a, b) for a, b in pairs]


def _differences(
    values: Values, pairs: Sequence[Pair], test: Test
) -> tuple[dict[Pair, Difference | None], dict[Pair, Difference | None]]:
    """Each pair's difference with its own spread, and as it is tested."""
    own = [test(values.get(first, {}), values.get(second, {})) for first, second in pairs]
    tested = moderated(own) if test is paired else own
    return dict(zip(pairs, own, strict=True)), dict(zip(pairs, tested, strict=True))


def _own_p(difference: Difference, margin: float, rule: Rule) -> float:
    return difference.p_beyond(margin) if rule.beyond else difference.p


class _Marked(TypedDict):
    """What of a verdict follows from its difference, its p and its gate."""

    mark: Mark
    small: bool
    gated: bool
    smallest_gap: float
    blocks_needed: int | None
    gap: float | None


def _marked(
    difference: Difference,
    tested: Difference,
    margin: float,
    p: float,
    gate: Gate,
    rule: Rule,
    family: int,
) -> _Marked:
    """The mark, the smallest gap that could have been seen, for "?" the blocks that settle it.

    "≈" claims something of this pair alone, so nothing is lent to it. p is corrected already;
    family: how many pairs the row's family has.
    """
    differs = p < (LEVEL if gate.open else rule.closed_level)
    mark: Mark = "≠" if differs else "≈" if difference.within(margin, 0.90) else "?"
    gated = mark == "?" and p < LEVEL
    level = (LEVEL if gate.open or not rule.closed_level else rule.closed_level) / family
    if rule.headline:
        level = min(level, gate.level)
    beyond = margin if rule.beyond else 0.0
    gap, needed = max(abs(difference.mean), margin + beyond), None
    priced = mark == "?" and gap > beyond
    if priced and (rule.headline or rule.closed_level or not gated):
        needed = blocks_to_see(tested, gap - beyond, level)
    return {
        "mark": mark,
        "small": differs and difference.within(margin, 0.95),
        "gated": gated,
        "smallest_gap": beyond + tested.smallest_gap(level),
        "blocks_needed": needed,
        "gap": gap if priced else None,
    }


def judge_exact(values: Values) -> list[Verdict]:
    """Values without spread, compared as they are: "≠" or, where they are equal, no mark."""
    columns = {column: set(blocks.values()) for column, blocks in values.items() if blocks}
    return [
        Verdict(first, second, "exact", "≠" if columns[first] != columns[second] else None)
        for first, second in itertools.combinations(columns, 2)
    ]


def judge_metric(
    metric: Metric,
    values: Values,
    baseline: str,
    floor_error: float = 0.0,
    test: Test = paired,
    gates: Gates | None = None,
    rule: Rule = USUAL,
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
    margin = margin_of(metric, base, floor_error)
    if metric.scale == "log":
        if all(value > 0 for blocks in values.values() for value in blocks.values()):
            values = {
                column: {block: math.log(value) for block, value in blocks.items()}
                for column, blocks in values.items()
            }
        else:
            margin = metric.relative * abs(_mean(base))
    return judge(values, baseline, margin, test, gates, rule)


def judge_rows(
    rows: Mapping[str, Values],
    baseline: str,
    floor_errors: Mapping[str, float] | None = None,
    test: Test = paired,
) -> dict[str, list[Verdict]]:
    """The verdicts on all rows of a study, by metric: gates first, then each row behind them.

    rows: the values of every metric that the study measured, by the metric's id; floor_errors:
    the standard errors of real-against-real floors, where they are known.
    """
    heads = headlines(key for key, values in rows.items() if any(values.values()))
    gates = _gates([rows[key] for key in heads], baseline, test)
    errors = floor_errors or {}
    return {
        key: judge_metric(
            METRICS[key], values, baseline, errors.get(key, 0.0), test, gates, _rule(key, heads)
        )
        for key, values in rows.items()
    }


def _rule(key: str, heads: Sequence[str]) -> Rule:
    return COST if METRICS[key].section == "cost" else HEADLINE if key in heads else USUAL


def _gates(heads: Sequence[Values], baseline: str, test: Test) -> Gates:
    """The gates of all pairs of columns that have a value in any headline row."""
    columns = dict.fromkeys(key for values in heads for key, blocks in values.items() if blocks)
    pairs = _pairs(list(columns), baseline)
    rows = [_differences(values, pairs, test)[1] for values in heads]

    def p(difference: Difference | None) -> float:
        # Too few blocks for a mark are too few for a gate.
        if difference is None or difference.blocks < FEWEST_BLOCKS:
            return 1.0
        return difference.p

    return gates_of({pair: [p(row[pair]) for row in rows] for pair in pairs}, baseline)


def row_mark(marks: Sequence[Mark | None]) -> Mark | None:
    """A row's mark from its pairs': ≠ if any is, ≈ if all are, else "?".

    No mark where there is no pair, or where values without spread agree.
    """
    if "≠" in marks:
        return "≠"
    if all(mark is None for mark in marks):
        return None
    return "≈" if all(mark == "≈" for mark in marks) else "?"
