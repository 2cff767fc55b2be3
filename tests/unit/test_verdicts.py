"""Verdicts against SciPy, closed forms, brute force and simulation with fixed seeds."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import integrate, stats

from kurabe.comparison.differences import (
    Difference,
    blocks_to_see,
    detectable,
    moderated,
    paired,
    power_of,
    t_quantile,
    welch,
)
from kurabe.comparison.families import LEVEL, gates_of, holm, weighted_holm
from kurabe.comparison.metrics import METRICS, headlines
from kurabe.comparison.verdicts import (
    COST,
    COST_LEVEL,
    judge,
    judge_metric,
    judge_rows,
    margin_of,
    row_mark,
)


def blocks(values):
    return dict(enumerate(np.asarray(values).tolist(), start=1))


@pytest.mark.parametrize("n", [2, 3, 5, 17])
def test_paired_t_is_scipys(n):
    rng = np.random.default_rng(n)
    a, b = rng.normal(size=n), rng.normal(0.7, 2, n)
    ours = paired(blocks(a), blocks(b))
    theirs = stats.ttest_rel(b, a)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-12)
    assert ours.df == theirs.df
    assert ours.interval(0.9) == pytest.approx(tuple(theirs.confidence_interval(0.9)), rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 5), (5, 5), (20, 7)])
def test_welchs_t_is_scipys(n, m):
    rng = np.random.default_rng(10 * n + m)
    a, b = rng.normal(size=n), rng.normal(0.7, 3, m)
    ours = welch(blocks(a), blocks(b))
    theirs = stats.ttest_ind(b, a, equal_var=False)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-12)
    assert ours.df == pytest.approx(theirs.df, rel=1e-12)
    assert ours.interval() == pytest.approx(tuple(theirs.confidence_interval()), rel=1e-12)


def test_a_moderated_variance_is_five_parts_its_own_and_two_parts_the_rows():
    """Smyth 2004, eq. 1 with d₀ = .4 d: over five blocks d = 4, d₀ = 1.6, so 5.6 in all."""
    values = np.random.default_rng(3).normal(size=(4, 5)) * [[1], [2], [1], [5]]
    gaps = [values[j] - values[i] for i, j in itertools.combinations(range(4), 2)]
    own = [gap.var(ddof=1) for gap in gaps]
    ours = moderated(
        [
            paired(blocks(values[i]), blocks(values[j]))
            for i, j in itertools.combinations(range(4), 2)
        ]
    )
    for found, gap, variance in zip(ours, gaps, own, strict=True):
        drawn = (4 * variance + 1.6 * np.mean(own)) / 5.6
        t = gap.mean() / np.sqrt(drawn / 5)
        assert found.df == pytest.approx(5.6)
        assert found.p == pytest.approx(2 * stats.t.sf(abs(t), 5.6), rel=1e-10)


def test_what_has_no_neighbour_or_no_spread_is_tested_as_it_is():
    one = paired(blocks([1.0, 2.0, 4.0]), blocks([2.0, 2.5, 6.0]))
    still = paired(blocks([3.0] * 3), blocks([4.0] * 3))
    assert moderated([one]) == [one]
    assert moderated([one, None]) == [one, None]
    assert moderated([one, still])[1] is still
    assert moderated([one, still])[0].df == pytest.approx(2.8)


def test_paired_uses_the_blocks_that_both_have():
    ours = paired({1: 1.0, 2: 2.0, 3: 4.0, 9: 100.0}, {1: 2.0, 2: 2.5, 3: 6.0, 4: -7.0})
    assert ours.blocks == 3
    assert ours.p == pytest.approx(stats.ttest_rel([2, 2.5, 6], [1, 2, 4]).pvalue, rel=1e-12)
    assert paired({1: 1.0}, {1: 2.0}) is None
    assert paired({1: 1.0, 2: 1.0}, {3: 2.0, 4: 2.0}) is None


def test_without_spread_equal_is_equal_and_different_is_different():
    assert paired(blocks([3.0] * 4), blocks([3.0] * 4)).p == 1
    assert welch(blocks([3.0] * 4), blocks([4.0] * 4)).p == 0


def test_holm_on_a_worked_example():
    # Four hypotheses at .01 .04 .03 .005: 4·.005, 3·.01, 2·.03, and .04 raised to the last.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_holm_rejects_what_the_closed_bonferroni_test_rejects():
    # Holm is the closure of Bonferroni: H_i falls iff every set of hypotheses holding i has a
    # member with p ≤ level / size. All subsets are tried.
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = (rng.uniform(size=5) ** 3).round(4).tolist()
        for index, adjusted in enumerate(holm(p)):
            sets = [
                subset
                for size in range(1, 6)
                for subset in itertools.combinations(range(5), size)
                if index in subset
            ]
            for level in (0.01, 0.05, 0.2):
                closed = all(min(p[i] for i in subset) <= level / len(subset) for subset in sets)
                assert closed == (adjusted <= level)


def test_weighted_holm_rejects_what_the_closed_weighted_bonferroni_test_rejects():
    # The same closure with weights: a set falls iff a member has p ≤ level · w / Σ w of the set.
    rng = np.random.default_rng(1)
    for _ in range(200):
        p = (rng.uniform(size=5) ** 3).round(4).tolist()
        w = rng.uniform(0.1, 1, 5).tolist()
        for index, adjusted in enumerate(weighted_holm(p, w)):
            others = [i for i in range(5) if i != index]
            sets = [
                (index, *rest) for size in range(5) for rest in itertools.combinations(others, size)
            ]
            for level in (0.01, 0.05, 0.2):
                closed = all(
                    any(p[i] <= level * w[i] / sum(w[j] for j in subset) for i in subset)
                    for subset in sets
                )
                assert closed == (adjusted <= level)


def test_the_gates_of_a_worked_example():
    # Two pairs with the baseline share .8, the third has .2; two headline rows each, Bonferroni:
    # p .006, .02, .0008 over weights .4 .4 .2 are .015, .05, .004. In that order (c-b first):
    # .004 · 1, .015 · .8, .05 · .4.
    p = {("a", "b"): [0.003, 0.9], ("a", "c"): [0.3, 0.01], ("c", "b"): [0.0004, 0.0005]}
    gates = gates_of(p, "a")
    adjusted = [gates[frozenset(pair)].p for pair in p]
    assert adjusted == pytest.approx([0.012, 0.02, 0.004])
    # All are found; each by itself would have had the whole level, for the better of two rows.
    assert [gates[frozenset(pair)].level for pair in p] == pytest.approx([0.025] * 3)
    p[("a", "c")] = [0.3, 0.4]
    p[("a", "b")] = [0.02, 0.9]
    gates = gates_of(p, "a")
    assert [gates[frozenset(pair)].p < LEVEL for pair in p] == [False, False, True]
    # What c-b leaves is shared by the two that wait.
    assert gates[frozenset("ac")].level == pytest.approx(0.05 / 2 / 2)
    assert gates_of({("a", "b"): [0.02, 0.5]}, "a")[frozenset("ab")].p == pytest.approx(0.04)


def power_by_definition(gap, df, level):
    """The noncentral t's two tails, with s = √(χ²/df) integrated out by SciPy's quadrature."""
    critical = stats.t.isf(level / 2, df)

    def tails(s):
        density = stats.chi.pdf(s * math.sqrt(df), df) * math.sqrt(df)
        return density * (stats.norm.cdf(gap - critical * s) + stats.norm.cdf(-gap - critical * s))

    return integrate.quad(tails, 0, 12, limit=500, epsabs=1e-12, points=[gap / critical])[0]


@pytest.mark.parametrize("df", [2, 4, 4.7, 9, 40])
@pytest.mark.parametrize("level", [0.05, 0.05 / 3, 0.05 / 28])
def test_the_smallest_gap_has_80_per_cent_power_by_definition(df, level):
    gap = detectable(df, level)
    assert power_by_definition(gap, df, level) == pytest.approx(0.8, abs=1e-8)
    assert power_of(0.0, df, level) == pytest.approx(level, rel=1e-9)


@pytest.mark.parametrize("df", [2, 4, 4.7, 9, 40])
@pytest.mark.parametrize("gap", [0.5, 2.0, 3.5])
def test_power_is_that_of_scipys_noncentral_t_where_it_has_an_answer(df, gap):
    critical = stats.t.isf(0.025, df)
    theirs = stats.nct.sf(critical, df, gap) + stats.nct.cdf(-critical, df, gap)
    assert power_of(gap, df) == pytest.approx(theirs, abs=1e-10)


def test_power_is_the_share_found_in_simulation():
    rng = np.random.default_rng(1)
    gap = detectable(4) / math.sqrt(5)
    found = stats.ttest_1samp(rng.normal(gap, 1, (20_000, 5)), 0, axis=1).pvalue < LEVEL
    # Standard error of a share near .8 over 20,000 draws: .0028.
    assert found.mean() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(("correlation", "quoted"), [(0.8, 1.5), (0.0, 3.3)])
def test_gaps_that_five_blocks_and_three_methods_see(correlation, quoted):
    # evaluation.md's figures, in standard deviations of one method; they lie between Holm's
    # strictest levels for two pairs and for all three.
    spread = math.sqrt(2 * (1 - correlation) / 5)
    two, three = (detectable(4, LEVEL / pairs) * spread for pairs in (2, 3))
    assert two < three
    assert quoted == pytest.approx((two + three) / 2, rel=0.1)


def test_blocks_needed_are_the_fewest_that_reach_80_per_cent():
    difference = Difference(mean=1.0, standard_error=1 / math.sqrt(5), df=4, blocks=5)

    def power(n):
        critical = stats.t.isf(LEVEL / 2, n - 1)
        return stats.nct.sf(critical, n - 1, math.sqrt(n)) + stats.nct.cdf(
            -critical, n - 1, math.sqrt(n)
        )

    needed = blocks_to_see(difference, gap=1.0)
    assert power(needed) >= 0.8 > power(needed - 1)
    # The textbook's number of pairs for a gap of one standard deviation.
    assert needed == 10
    assert blocks_to_see(difference, gap=0.01) is None


def test_welch_projected_to_more_blocks_is_welch_on_more_of_the_same():
    a, b = [1.0, 2.0, 4.0], [0.0, 5.0, 9.0]
    now = welch(blocks(a), blocks(b)).with_blocks(6)
    # n copies keep the variance of the population, so the sample variances are put back.
    va, vb = np.var(a, ddof=1), np.var(b, ddof=1)
    assert now.standard_error == pytest.approx(math.sqrt((va + vb) / 6))
    assert now.df == pytest.approx(5 * (va + vb) ** 2 / (va**2 + vb**2))


@pytest.mark.parametrize(
    ("gap", "spread", "margin", "mark", "small"),
    [
        (0.1, 0.01, 0.02, "≠", False),
        (0.01, 0.001, 0.02, "≠", True),
        (0.0, 0.001, 0.02, "≈", False),
        (0.0, 0.1, 0.02, "?", False),
        (0.05, 0.1, 0.02, "?", False),
    ],
)
def test_the_four_outcomes_of_a_pair(gap, spread, margin, mark, small):
    pattern = np.array([-1, 1, 0, 0.5, -0.5])
    values = {"a": blocks(np.zeros(5)), "b": blocks(gap + spread * pattern)}
    [verdict] = judge(values, "a", margin)
    assert (verdict.mark, verdict.small) == (mark, small)
    assert verdict.difference.mean == pytest.approx(gap)


def test_equivalence_is_two_one_sided_tests_at_five_per_cent():
    rng = np.random.default_rng(5)
    for margin in (0.3, 0.6, 1.0):
        for _ in range(50):
            d = rng.normal(0, 0.5, 5)
            [verdict] = judge({"a": blocks(np.zeros(5)), "b": blocks(d)}, "a", margin)
            above = stats.ttest_1samp(d, -margin, alternative="greater").pvalue
            below = stats.ttest_1samp(d, margin, alternative="less").pvalue
            if verdict.mark != "≠":
                assert (verdict.mark == "≈") == (max(above, below) <= 0.05)


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_blocks_have_no_mark_but_cannot_tell(n):
    [verdict] = judge({"a": blocks([0.0, 0.1][:n]), "b": blocks([9.0, 9.1][:n])}, "a", 0.02)
    assert verdict.mark == "?"
    assert verdict.smallest_gap is None


def test_pairs_with_the_baseline_are_a_family_of_their_own():
    rng = np.random.default_rng(2)
    values = {name: blocks(rng.normal(size=6)) for name in "abcd"}
    verdicts = {(v.first, v.second): v for v in judge(values, "c", 0.1)}
    assert {pair for pair, v in verdicts.items() if v.family == "primary"} == {
        ("c", "a"), ("c", "b"), ("c", "d"),
    }  # fmt: skip
    tested = dict(zip(verdicts, moderated([v.difference for v in verdicts.values()]), strict=True))
    for family in ("primary", "secondary"):
        members = [v for v in verdicts.values() if v.family == family]
        raw = [tested[v.first, v.second].p for v in members]
        assert [v.p for v in members] == pytest.approx(holm(raw))


def test_a_column_without_values_takes_part_in_no_pair():
    values = {"a": blocks([1.0, 2, 3]), "b": {}, "c": blocks([1.0, 2, 3])}
    assert [(v.first, v.second) for v in judge(values, "a", 0.1)] == [("a", "c")]


def test_times_are_compared_as_ratios():
    seconds = {"a": blocks([100, 101, 99]), "b": blocks([150, 153, 149])}
    [verdict] = judge_metric(METRICS["seconds"], seconds, "a", rule=COST)
    logs = np.log([150, 153, 149]) - np.log([100, 101, 99])
    assert verdict.difference.mean == pytest.approx(logs.mean())
    assert verdict.margin == pytest.approx(math.log(1.1))
    # The null hypothesis is the whole margin: SciPy's test against its nearer end.
    assert verdict.p == pytest.approx(stats.ttest_1samp(logs, math.log(1.1)).pvalue)
    assert (verdict.mark, verdict.small) == ("≠", False)


def test_a_time_inside_the_margin_is_equal_however_sure_the_difference():
    seconds = {"a": blocks([100, 101, 99]), "b": blocks([103, 104.1, 102])}
    [verdict] = judge_metric(METRICS["seconds"], seconds, "a", rule=COST)
    assert verdict.difference.p < 0.001
    assert (verdict.mark, verdict.p) == ("≈", 1.0)


def test_a_base_that_was_not_trained_took_no_time_and_differs():
    seconds = {"a": blocks([60.1, 60.4, 59.8]), "base": blocks([0.0, 0.0, 0.0])}
    [verdict] = judge_metric(METRICS["seconds"], seconds, "a", rule=COST)
    assert (verdict.mark, verdict.small) == ("≠", False)


PATTERN = np.array([-1, 1, 0, 0.5, -0.5])


def rows_of(**gaps):
    """Two columns a, b, five blocks: in each row b − a is the gap plus a spread of about .8."""
    return {
        key.replace("_", "-"): {"a": blocks(np.ones(5)), "b": blocks(1 + gap + PATTERN)}
        for key, gap in gaps.items()
    }


def test_headline_rows_are_the_first_measured_of_each_line():
    assert headlines(["recall", "held-out-loss", "kid"]) == ("kid",)
    measured = ["held-out-loss", "own-view-recall", "knn", "seconds"]
    assert headlines(measured) == ("held-out-loss", "knn")
    assert headlines(["linear-probe", "own-view-recall"]) == ("linear-probe",)


def test_a_row_that_differs_alone_is_not_marked_and_says_why():
    verdicts = judge_rows(rows_of(kid=0.0, linear_probe=0.1, recall=3.0), "a")
    [recall] = verdicts["recall"]
    assert recall.p == pytest.approx(stats.ttest_1samp(3 + PATTERN, 0).pvalue)
    assert recall.p < 0.01
    assert (recall.mark, recall.gated, recall.blocks_needed) == ("?", True, None)
    assert recall.gate == 1.0


def test_an_open_gate_lets_each_row_be_judged_by_its_own_p():
    verdicts = judge_rows(rows_of(kid=5.0, linear_probe=0.1, recall=3.0, precision=0.3), "a")
    marks = {key: of[0].mark for key, of in verdicts.items()}
    assert marks == {"kid": "≠", "linear-probe": "?", "recall": "≠", "precision": "?"}
    expected = 2 * stats.ttest_1samp(5 + PATTERN, 0).pvalue
    assert verdicts["recall"][0].gate == pytest.approx(expected)


def test_a_headline_row_must_pass_the_gate_itself_and_more_blocks_would():
    # p = .031 by itself, .063 as the smaller of two headline rows.
    verdicts = judge_rows(rows_of(kid=1.15, linear_probe=0.1), "a")
    [kid] = verdicts["kid"]
    assert kid.p == pytest.approx(stats.ttest_1samp(1.15 + PATTERN, 0).pvalue)
    assert kid.p < LEVEL < 2 * kid.p
    assert (kid.mark, kid.gated, kid.gate) == ("?", True, pytest.approx(2 * kid.p))
    n, spread = kid.blocks_needed, PATTERN.std(ddof=1)

    def power(n):
        t = stats.t.isf(LEVEL / 2 / 2, n - 1)
        shift = 1.15 / spread * math.sqrt(n)
        return stats.nct.sf(t, n - 1, shift) + stats.nct.cdf(-t, n - 1, shift)

    assert n > 5
    assert power(n) >= 0.8 > power(n - 1)


def test_without_a_headline_row_only_cost_and_exact_values_are_marked():
    rows = rows_of(recall=9.0)
    rows["peak-memory"] = {"a": blocks([100, 101, 99, 100, 100]), "b": blocks([300] * 5)}
    rows["total-parameters"] = {"a": blocks([4.0] * 5), "b": blocks([5.0] * 5)}
    marks = {key: of[0].mark for key, of in judge_rows(rows, "a").items()}
    assert marks == {"recall": "?", "peak-memory": "≠", "total-parameters": "≠"}


def test_behind_a_closed_gate_cost_keeps_a_level_of_its_own():
    ratio = math.log(1.1) + PATTERN / 20
    for gap, mark in ((0.05, "?"), (0.4, "≠")):
        logs = ratio + gap
        rows = rows_of(kid=0.0)
        rows["seconds"] = {"a": blocks(np.ones(5)), "b": blocks(np.exp(logs))}
        [verdict] = judge_rows(rows, "a")["seconds"]
        p = stats.ttest_1samp(logs, math.log(1.1)).pvalue
        assert verdict.p == pytest.approx(p)
        assert p < LEVEL
        assert (verdict.mark, p < COST_LEVEL) == (mark, mark == "≠")


def test_too_few_blocks_open_no_gate():
    rows = rows_of(recall=9.0)
    rows["kid"] = {"a": blocks([1.0, 1.1]), "b": blocks([9.0, 9.2])}
    assert judge_rows(rows, "a")["recall"][0].mark == "?"


def test_values_without_spread_are_compared_exactly():
    parameters = {"a": blocks([5.0] * 5), "b": blocks([5.0] * 5), "c": blocks([6.0])}
    marks = [v.mark for v in judge_metric(METRICS["total-parameters"], parameters, "a")]
    assert marks == [None, "≠", "≠"]


def test_rankme_is_not_compared_between_methods():
    values = {"a": blocks([5.0, 5.1, 5.2]), "b": blocks([50.0, 51, 52])}
    assert judge_metric(METRICS["rankme"], values, "a") == []


def test_the_margin_of_kid_is_a_tenth_of_the_baseline_or_two_errors_of_the_floor():
    kid = METRICS["kid"]
    assert margin_of(kid, [0.1, 0.3]) == pytest.approx(0.02)
    assert margin_of(kid, [0.1, 0.3], floor_error=0.03) == pytest.approx(0.06)


def test_margins_are_those_declared():
    margins = {key: METRICS[key].margin for key in ("linear-probe", "knn", "recall", "few-shot-5")}
    assert margins == {"linear-probe": 0.01, "knn": 0.01, "recall": 0.02, "few-shot-5": 0.02}
    assert margin_of(METRICS["held-out-loss"], [0.2]) == pytest.approx(0.002)


def test_a_rows_mark_follows_its_pairs():
    assert row_mark(["≈", "≠", "?"]) == "≠"
    assert row_mark(["≈", "≈"]) == "≈"
    assert row_mark(["≈", "?"]) == "?"
    assert row_mark([None, None]) is None
    assert row_mark([]) is None


def false_differences(test, columns, sd, shared, tables=1000):
    """Shares of tables with a false ≠ in the primary family: all columns have the same mean."""
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(tables):
        luck = rng.normal(size=5) * shared
        values = {
            str(column): blocks(luck + scale * rng.normal(size=5))
            for column, scale in zip(range(columns), itertools.cycle(sd))
        }
        primary = [v for v in judge(values, "0", 0.0, test) if v.family == "primary"]
        wrong += any(v.mark == "≠" for v in primary)
    return wrong / tables


@pytest.mark.parametrize(
    ("test", "columns", "sd", "shared", "low", "high"),
    [
        # Standard error of a share of .05 over 1,000 tables: .007; bounds are three of them.
        (paired, 2, (1,), 1.0, 0.03, 0.07),
        (paired, 2, (1, 3), 1.0, 0.03, 0.07),
        # Lent variances leave the level as it is where spreads are equal, and where they are not.
        (paired, 4, (1,), 1.0, 0.015, 0.065),
        (paired, 3, (1, 3), 1.0, 0.015, 0.07),
        (paired, 4, (10, 1, 1, 1), 1.0, 0.015, 0.07),
        (paired, 4, (1, 1, 1, 10), 1.0, 0.015, 0.07),
        # Welch is conservative at five runs: evaluation.md says 3.3–4.5 %.
        (welch, 2, (1,), 0.0, 0.02, 0.06),
        (welch, 2, (1, 3), 0.0, 0.03, 0.07),
    ],
)
def test_false_differences_stay_at_the_nominal_share(test, columns, sd, shared, low, high):
    assert low < false_differences(test, columns, sd, shared) < high


def test_false_equivalences_at_the_edge_of_the_margin_stay_below_five_per_cent():
    rng = np.random.default_rng(11)
    wrong = 0
    for _ in range(2000):
        values = {"a": blocks(np.zeros(8)), "b": blocks(rng.normal(1.0, 0.5, 8))}
        wrong += judge(values, "a", margin=1.0)[0].mark == "≈"
    assert wrong / 2000 < 0.065


@pytest.mark.parametrize("df", [1, 2, 4, 4.7, 30, 1e6])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 1 - 0.05 / 28])
def test_quantiles_of_t_are_scipys(df, level):
    # SciPy's distributions take a second to import; their functions alone are enough here.
    assert t_quantile(df, level) == pytest.approx(stats.t.ppf(0.5 + level / 2, df), rel=1e-12)
    gap = Difference(0.7, 0.3, df, 5)
    assert gap.p == pytest.approx(2 * stats.t.sf(0.7 / 0.3, df), rel=1e-12)


def test_no_command_waits_for_scipys_distributions():
    code = (
        "import sys, kurabe.comparison, kurabe.web, kurabe.evaluation.memorisation\n"
        "print([m for m in sys.modules if m in ('scipy.stats', 'scipy.stats.distributions')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
