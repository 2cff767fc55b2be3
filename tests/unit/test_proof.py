"""The A/A study and the planted gap, on Gaussian pools in which the right answer is known."""

import math

import numpy as np
import pytest
from made_study import study
from scipy import stats

from kurabe.comparison import draw_html, draw_terminal, proving, published, study_table
from kurabe.comparison.differences import power_of, welch
from kurabe.comparison.proof import Share, nothing_differs, planted_gap, shared_luck
from kurabe.comparison.results import read_results


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
    # Standard error over 600 tables: .009.
    found = nothing_differs(pool(1), ["kid"], columns=2, tables=600, spreads=spreads)
    assert 0.023 < found.anywhere.share < 0.077


ROWS = (
    "kid", "linear-probe", "recall", "precision", "coverage", "held-out-loss", "knn", "seconds",
)  # fmt: skip


@pytest.mark.parametrize(("columns", "spreads"), [(2, (1.0,)), (3, (1.0, 3.0)), (4, (1.0,))])
def test_a_table_of_many_rows_has_hardly_more_false_differences_than_one_row(columns, spreads):
    # Eight independent rows by themselves: 1 − .95⁸ = .34 of tables of two columns, more of wider
    # ones. Behind gates at most .05; standard error over 200 tables .015.
    runs = pool(3, metrics=ROWS)
    found = nothing_differs(runs, ROWS, columns=columns, tables=200, spreads=spreads)
    assert found.anywhere.share < 0.095
    assert found.primary.found <= found.anywhere.found
    assert set(found.by_metric) == set(ROWS)


@pytest.mark.parametrize("luck", [0.0, 1.0])
def test_a_planted_gap_is_found_as_often_as_the_noncentral_t_says(luck):
    runs = pool(4, luck=luck)
    found = planted_gap(runs, "kid", gap=2.0, tables=600)
    shift = 2.0 * np.std([run["kid"] for run in runs], ddof=1)
    # What is left of the spread within a block is 1 for each of the two columns.
    expected = power_of(shift / math.sqrt(2 / 5), 4)
    assert found.share == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize(("columns", "weight"), [(2, 1.0), (3, 0.8 / 2), (4, 0.8 / 3)])
def test_in_a_table_of_two_headline_rows_the_gates_level_decides(columns, weight):
    heads = ("kid", "linear-probe")
    runs = pool(5, blocks=200, metrics=heads)
    found = planted_gap(runs, "kid", metrics=heads, columns=columns, tables=250)
    # Luck is half of the variance, and the other half is 1. What other pairs lend counts as .4 of
    # the pair's own four degrees of freedom, and is worth more where spreads are equal as here.
    shift, level = 3 * math.sqrt(2) / math.sqrt(2 / 5), 0.05 * weight / 2
    least = power_of(shift, 4 if columns == 2 else 5.6, level)
    most = least if columns == 2 else power_of(shift, 1e4, level)
    assert least > 0.8
    # Standard error .025; the other pairs' false finds may add a little.
    assert least - 0.06 < found.share < most + 0.06


def test_shared_luck_is_the_intraclass_correlation_of_the_textbooks_example():
    # Shrout & Fleiss (1979), table 2: six targets, four ratings each; ICC(1, 1) = .17.
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    runs = [{"block": b, "kid": float(v)} for b, of in enumerate(ratings) for v in of]
    assert shared_luck(runs, "kid") == pytest.approx(0.17, abs=0.005)
    with pytest.raises(ValueError, match="equally many"):
        shared_luck(runs[:-1], "kid")


def test_three_standard_deviations_are_found_at_five_blocks():
    assert planted_gap(pool(5, luck=0.0), "kid", tables=400).lower() > 0.8


def test_without_blocks_in_common_welch_keeps_the_level():
    found = nothing_differs(pool(6, luck=0.0), ["kid"], columns=2, tables=400, test=welch)
    assert 0.01 < found.anywhere.share < 0.075


@pytest.fixture(scope="module")
def proof(tmp_path_factory):
    """The figures of a made A/A study of 12 blocks and 3 columns, 60 tables each."""
    rng = np.random.default_rng(8)
    luck = {metric: rng.normal(size=12) for metric in ("kid", "recall", "own-view-recall")}
    columns = dict.fromkeys(("first", "second", "third"), "ddpm")
    metrics = {
        metric: {c: (5 + of + rng.normal(size=12)).tolist() for c in columns}
        for metric, of in luck.items()
    }
    metrics["total-parameters"] = dict.fromkeys(columns, [7.0] * 12)
    folder = study(
        tmp_path_factory.mktemp("a-a") / "a-a", metrics, columns, blocks=12, baseline="first"
    )
    folder.run("second", 4).update(status="failed")
    found, pool = proving.prove(read_results(folder), tables=60)
    return found, pool, metrics


def test_the_pool_holds_the_runs_of_whole_blocks_and_their_tested_rows(proof):
    found, pool, metrics = proof
    assert (found.runs, found.blocks, len(pool)) == (33, 11, 33)
    assert found.rows == ("kid", "recall", "own-view-recall")
    assert found.headlines == ("kid", "own-view-recall")
    assert {run["block"] for run in pool} == set(range(1, 13)) - {4}
    assert pool[-1]["recall"] == metrics["recall"]["third"][-1]


def test_the_published_figures_are_those_of_the_pool(proof):
    found, pool, _ = proof
    [_, three] = found.false
    again = nothing_differs(pool, found.rows, columns=3, tables=60).anywhere
    assert (three.columns, three.found, three.upper) == (3, again.found, again.upper())
    assert [(f.columns, f.metric) for f in found.found] == [
        (2, "kid"), (2, "own-view-recall"), (3, "kid"), (3, "own-view-recall"),
    ]  # fmt: skip
    kid = planted_gap(pool, "kid", metrics=found.headlines, columns=3, tables=60)
    assert found.found[2].share == kid.share


def test_the_figures_stand_below_every_table_of_a_study(proof, tmp_path, monkeypatch):
    found, pool, _ = proof
    proving.write(tmp_path / "a-a", found, pool)
    monkeypatch.setattr(published, "SHIPPED", tmp_path / "a-a" / "proof.json")
    published.published.cache_clear()
    made = study(tmp_path / "s", {"kid": {"transfer": [0.1, 0.2, 0.3]}})
    try:
        tables = {lang: study_table(made, lang) for lang in ("ja", "en")}
    finally:
        published.published.cache_clear()
    worst = max(found.false, key=lambda result: result.upper)
    said = f"{100 * worst.share:.1f} % show any ≠ (upper bound {100 * worst.upper:.1f} %)"
    assert said in tables["en"].proof.replace(" .", " 0.")
    assert tables["ja"].proof.startswith("判定の確かさ: 同じ手法どうしの表 60 枚")
    for table in tables.values():
        assert table.proof in " ".join(draw_html(table).split())
        drawn = draw_terminal(table).replace("\n", "").replace(" ", "")
        assert table.proof.replace(" ", "") in drawn


def test_the_same_seed_deals_the_same_tables():
    runs = pool(7)
    first, again = (nothing_differs(runs, ["kid"], tables=40, seed=3) for _ in range(2))
    assert first == again


def test_a_pool_too_small_for_its_tables_is_refused():
    with pytest.raises(ValueError, match="4 blocks of the pool have 3 runs"):
        nothing_differs(pool(0, blocks=4), ["kid"], columns=3)
