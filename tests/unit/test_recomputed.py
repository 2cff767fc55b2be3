"""The marks of the shipped studies, computed once more.

From the scores in their folders and from what decisions 12, 13 and 20 say, with SciPy's
distributions and plain loops, by nothing of kurabe.comparison but the metrics' declarations.
"""

import itertools
import json
import math
import tomllib

import numpy as np
import pytest
from scipy import stats

from kurabe.comparison import study_table
from kurabe.comparison.metrics import METRICS
from kurabe.records import StudyFolder
from kurabe.records.study import SHIPPED

# Of the error, until the look at five blocks.
SHARE = 0.85


class Scores:
    """values[metric][column][block]; images[metric][column]; errors of floors by metric."""

    def __init__(self, folder):
        settings = tomllib.loads((folder / "study.toml").read_text("utf-8"))
        self.baseline = settings["baseline"]
        self.columns = [column["id"] for column in settings["columns"]]
        self.values, self.images, self.floors = {}, {}, {}
        for column, block in itertools.product(self.columns, range(1, 6)):
            path = folder / "runs" / column / f"block-{block}" / "scores" / "scores.json"
            for key, entry in json.loads(path.read_text("utf-8"))["metrics"].items():
                if entry.get("value") is None or key not in METRICS:
                    continue
                if METRICS[key].scale not in ("linear", "log"):
                    continue
                self.values.setdefault(key, {}).setdefault(column, {})[block] = entry["value"]
                self.images.setdefault(key, {}).setdefault(column, []).append(entry.get("n") or 0)
                if (error := entry.get("detail", {}).get("floor_se")) is not None:
                    self.floors.setdefault(key, []).append(error)

    def counted(self, key, pair):
        tried_on = "linear-probe" if key.startswith("few-shot") else key
        return min(min(self.images[tried_on][column]) for column in pair)

    def tested(self, key):
        """On the tested scale; what cost nothing has no logarithm."""
        if METRICS[key].scale != "log":
            return self.values[key]
        return {
            column: {b: math.log(v) for b, v in of.items() if v > 0}
            for column, of in self.values[key].items()
            if any(of.values())
        }


def skewed(scores):
    """How far from a normal to a lognormal law the squared skewness of five values has gone."""
    found = [
        stats.skew(list(of.values())) ** 2
        for key in scores.values
        for of in scores.tested(key).values()
        if len(set(of.values())) == len(of) == 5
    ]
    return (np.mean(found) - 6 * 3 / (6 * 8)) / 0.4


def of_pair(scores, key, pair, values):
    """Mean, margin and variances of a block's difference, paired and of columns by themselves."""
    metric, (a, b) = METRICS[key], pair
    first, second = (np.array([values[c][block] for block in sorted(values[c])]) for c in pair)
    gaps = second - first
    if metric.scale == "log":
        margin = math.log(1 + metric.relative)
    else:
        smaller = min(abs(np.mean(list(values[c].values()))) for c in (a, b))
        floor = metric.floor_errors * np.mean(scores.floors.get(key, 0.0))
        margin = max(metric.margin, metric.relative * smaller, floor)
    least = 0.0
    if metric.share:
        n, q = scores.counted(key, pair), min(0.5, max(abs(gaps.mean()), margin))
        least = max(1 / n**2, q * (1 - q) / n)
    alone = np.array([first.var(ddof=1), second.var(ddof=1)])
    return {
        "mean": gaps.mean(),
        "margin": margin,
        "spread": gaps.var(ddof=1) > 1e-20 * max(1, gaps.mean() ** 2) or least > 0,
        "paired": (max(gaps.var(ddof=1), least), 4),
        "welch": (max(alone.sum(), least), 4 * alone.sum() ** 2 / max(1e-300, (alone**2).sum())),
    }


def lent(variance, df, of_row):
    """The standard error over five blocks and its degrees of freedom, with what the row lends."""
    mean = np.mean(of_row)
    lends = 0.0 if len(of_row) < 2 else 1.0 if variance <= mean else 0.45
    return math.sqrt((variance + lends * mean) / (1 + lends) / 5), df * (1 + lends)


def of_row(scores, key):
    """By pair: p, p of a row alone, p of equality, the two intervals, mean and margin."""
    values, cost = scores.tested(key), METRICS[key].section == "cost"
    pairs = [
        (b, a) if b == scores.baseline else (a, b)
        for a, b in itertools.combinations(scores.columns, 2)
        if a in values and b in values
    ]
    known = {pair: of_pair(scores, key, pair, values) for pair in pairs}
    row = [of for of in known.values() if of["spread"]]
    found = {}
    for pair, of in known.items():
        if not of["spread"]:
            found[pair] = {"p": 1.0, "alone": 1.0, "equal": 1.0}
            continue
        gap, sides = abs(of["mean"]), {}
        excess = max(0.0, gap - of["margin"]) if cost else gap
        for test in ("paired", "welch"):
            error, df = lent(*of[test], [other[test][0] for other in row])
            half = stats.t.ppf(0.975, df) * error
            p = 2 * stats.t.sf(excess / error, df)
            sides[test] = p, (of["mean"] - half, of["mean"] + half), error, df
        paired, error, df = sides["paired"][0], *sides["paired"][2:]
        p = paired if cost else min(1.0, 2 * min(paired, sides["welch"][0]))
        own = 2 * stats.t.sf(excess / math.sqrt(of["paired"][0] / 5), 4)
        better = "welch" if not cost and sides["welch"][0] < paired else "paired"
        found[pair] = {
            **of, "p": p, "alone": max(p, own),
            "equal": stats.t.sf((of["margin"] - gap) / error, df),
            "≠": sides[better][1], "?": sides["paired"][1],
        }  # fmt: skip
    return found


def holm(family, baseline, kind, level):
    """Adjusted p of the rows' pairs, of which 5 % is found; rows share alike, pairs 85 to 15."""
    weighted = []
    for key, row in family.items():
        first = [pair for pair in row if baseline in pair]
        for pair, of in row.items():
            mixed = 0 < len(first) < len(row)
            share = (0.85 if pair in first else 0.15) if mixed else 1.0
            of_kind = len(first) if pair in first else len(row) - len(first)
            weight = share / of_kind / len(family)
            weighted.append((of[kind] / weight, weight, (key, pair)))
    weighted.sort(key=lambda one: one[0])
    adjusted, highest = {}, 0.0
    for place, (ratio, _, name) in enumerate(weighted):
        highest = max(highest, ratio * math.fsum(w for _, w, _ in weighted[place:]))
        adjusted[name] = min(1.0, highest * 0.05 / level)
    return adjusted


def benjamini_hochberg(named):
    """Adjusted p by name."""
    order = sorted(named, key=named.__getitem__)
    adjusted, least = {}, 1.0
    for rank in range(len(order), 0, -1):
        least = min(least, named[order[rank - 1]] * len(order) / rank)
        adjusted[order[rank - 1]] = least
    return adjusted


def exactly(values, pair):
    """What cost nothing, or never varies, has no test: its mark, or None where there is one."""
    first, second = (set(values[column].values()) for column in pair)
    if {0.0} in (first, second) or len(first) == len(second) == 1:
        return "=" if first == second else "≠"
    return None


@pytest.mark.parametrize("name", ["emoji-openmoji", "fashion-animals", "fashion-unlabelled"])
def test_the_marks_of_a_shipped_study_are_what_the_decisions_say(name):
    scores = Scores(SHIPPED / name)
    # So no p is multiplied: decision 20.
    assert skewed(scores) < 0.28
    heads = ["feature-distance" if "feature-distance" in scores.values else "kid", "linear-probe"]
    rows = {key: of_row(scores, key) for key in scores.values}
    others = {key: row for key, row in rows.items() if key not in heads}
    adjusted = holm({k: rows[k] for k in heads}, scores.baseline, "p", 0.048 * SHARE)
    told = {pair for (_, pair), p in adjusted.items() if p < 0.05}
    adjusted |= holm(others, scores.baseline, "alone", 0.002 * SHARE)
    behind = {(key, pair): others[key][pair]["p"] for key in others for pair in told & {*rows[key]}}
    for place, p in benjamini_hochberg(behind).items():
        adjusted[place] = min(adjusted[place], 1.0, p * 0.05 / (0.04 * SHARE))
    equal = benjamini_hochberg(
        {(k, pair): of["equal"] for k in rows for pair, of in rows[k].items()}
    )
    compared = 0
    for row in study_table(StudyFolder(SHIPPED / name), "en").rows:
        for shown in row.pairs if row.key in rows else ():
            place = row.key, (shown.first, shown.second)
            cost = METRICS[row.key].section == "cost"
            exact = exactly(scores.values[row.key], place[1]) if cost else None
            compared += 1
            if exact is not None:
                assert (shown.mark or "=") == exact, place
                continue
            mark = "≠" if adjusted[place] < 0.05 else "≈" if equal[place] < 0.05 * SHARE else "?"
            assert shown.mark == mark, place
            of, scale = rows[row.key][place[1]], np.exp if shown.ratio else np.array
            if "mean" in of:
                low, high = of["≠" if mark == "≠" else "?"]
                seen = (shown.difference, shown.low, shown.high, shown.margin)
                expected = scale([of["mean"], low, high, of["margin"]])
                np.testing.assert_allclose(seen, expected, rtol=1e-10, err_msg=str(place))
                assert shown.p == pytest.approx(adjusted[place], rel=1e-9)
                inside = -of["margin"] <= low and high <= of["margin"]
                assert shown.small == (mark == "≠" and inside)
    assert compared > 140
