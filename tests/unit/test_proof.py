"""The A/A study and the planted gap, on Gaussian pools in which the right answer is known."""

import math

import numpy as np
import pytest
from scipy import stats

from kurabe.comparison.proof import Share, nothing_differs, planted_gap
from kurabe.comparison.verdicts import power_of, welch


def pool(seed, blocks=60, runs=4, luck=1.0, metrics=("kid",)):
    """Runs whose value is 10 + the block's luck + noise of standard deviation 1."""
    rng = np.random.default_rng(seed)
    found = []
    for block in range(blocks):
        of_block = {metric: 10 + luck * rng.normal() for metric in metrics}
        for _ in range(runs):
            found.append({"block": block} | {m: v + rng.normal() for m, v in of_block.items()})
    return found


def test_bounds_are_clopper_and_pearsons():
    for found, tables in ((0, 400), (20, 400), (400, 400)):
        share = Share(found, tables)
        test = stats.binomtest(found, tables, alternative="less")
        assert share.upper() == pytest.approx(test.proportion_ci(0.95, "exact").high, rel=1e-9)
        test = stats.binomtest(found, tables, alternative="greater")
        assert share.lower() == pytest.approx(test.proportion_ci(0.95, "exact").low, rel=1e-9)


@pytest.mark.parametrize("spreads", [(1.0,), (1.0, 3.0)])
def test_two_columns_of_one_method_differ_in_one_table_of_twenty(spreads):
    # Standard error over 800 tables: .008.
    found = nothing_differs(pool(1), ["kid"], columns=2, tables=800, spreads=spreads)
    assert 0.026 < found.anywhere.share < 0.074


def test_the_family_with_the_baseline_keeps_its_five_per_cent_with_more_columns():
    found = nothing_differs(pool(2), ["kid"], columns=4, tables=500)
    assert found.primary.share < 0.08
    assert found.primary.found <= found.anywhere.found


def test_a_table_of_many_rows_has_more_false_differences_than_each_of_its_rows():
    metrics = ("kid", "recall", "own-view-recall", "held-out-loss")
    found = nothing_differs(pool(3, metrics=metrics), metrics, columns=2, tables=300)
    # Independent rows: 1 − .95⁴ = .185 of the tables, .05 of the rows; standard error .022.
    assert found.anywhere.share == pytest.approx(0.185, abs=0.07)
    assert max(share.share for share in found.by_metric.values()) < 0.1


@pytest.mark.parametrize("luck", [0.0, 1.0])
def test_a_planted_gap_is_found_as_often_as_the_noncentral_t_says(luck):
    runs = pool(4, luck=luck)
    found = planted_gap(runs, "kid", gap=2.0, tables=600)
    shift = 2.0 * np.std([run["kid"] for run in runs], ddof=1)
    # What is left of the spread within a block is 1 for each of the two columns.
    expected = power_of(shift / math.sqrt(2 / 5), 4)
    assert found.share == pytest.approx(expected, abs=0.06)


def test_three_standard_deviations_are_found_at_five_blocks():
    assert planted_gap(pool(5, luck=0.0), "kid", tables=400).lower() > 0.8


def test_without_blocks_in_common_welch_keeps_the_level():
    found = nothing_differs(pool(6, luck=0.0), ["kid"], columns=2, tables=400, test=welch)
    assert 0.01 < found.anywhere.share < 0.075


def test_the_same_seed_deals_the_same_tables():
    runs = pool(7)
    first, again = (nothing_differs(runs, ["kid"], tables=40, seed=3) for _ in range(2))
    assert first == again


def test_a_pool_too_small_for_its_tables_is_refused():
    with pytest.raises(ValueError, match="4 blocks of the pool have 3 runs"):
        nothing_differs(pool(0, blocks=4), ["kid"], columns=3)
