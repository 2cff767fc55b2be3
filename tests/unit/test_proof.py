"""The A/A study and the planted gap, on Gaussian pools in which the right answer is known."""

import itertools
import json
import math

import numpy as np
import pytest
from made_study import study
from scipy import stats

from kurabe.comparison import (
    draw_html,
    draw_terminal,
    p_values,
    prove_marks,
    published_figures,
    study_table,
)
from kurabe.comparison.families import HEADLINE_LEVEL, PRIMARY_WEIGHT
from kurabe.comparison.results import read_results
from kurabe.comparison.simulated_tables import DealtShare, Share, dealt, shared_luck
from kurabe.comparison.t_tests import LENT_DOWN, power_of


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


def test_a_bound_counts_what_another_pool_would_have_given():
    """The jackknife against the spread over pools: 40 of 12 blocks, means of 4 blocks a table."""
    rng = np.random.default_rng(2)
    held = np.zeros((3000, 12), dtype=bool)
    for table in held:
        table[rng.permutation(12)[:4]] = True
    shares, errors = [], []
    for _ in range(40):
        of_block = rng.normal(size=12)
        wrong = (held @ of_block / 4 + rng.normal(0, 0.5, len(held)) > 0.6).astype(float)
        share = DealtShare(wrong, held)
        shares.append(share.share)
        errors.append(share.error)
    # The jackknife is known to be too large for such shares rather than too small.
    assert np.std(shares, ddof=1) < 1.2 * np.mean(errors)
    assert np.mean(errors) < 2.5 * np.std(shares, ddof=1)
    drawing = np.sqrt(np.mean(shares) * (1 - np.mean(shares)) / 3000)
    assert np.std(shares, ddof=1) > 5 * drawing


def test_bounds_are_never_narrower_than_clopper_and_pearsons():
    of = DealtShare(np.repeat([1.0, 0.0], [20, 380]), np.zeros((400, 3), dtype=bool))
    assert of.upper() >= Share(20, 400).upper()
    assert of.lower() <= Share(20, 400).lower()
    weighted = DealtShare(np.array([0.5, 0.0]), np.zeros((2, 1), dtype=bool), np.array([2.0, 6.0]))
    assert weighted.share == pytest.approx(1 / 8)


@pytest.mark.parametrize("spreads", [(1.0,), (1.0, 3.0)])
def test_two_columns_of_one_method_differ_in_one_table_of_twenty(spreads):
    # Standard error over 600 tables: .009.
    found = dealt(pool(1), ["kid"], columns=2, tables=600, spreads=spreads)
    assert 0.015 < found.false.share < 0.075


ROWS = (
    "kid", "linear-probe", "density", "diversity", "loss-gap", "held-out-loss", "uniformity",
    "seconds",
)  # fmt: skip


@pytest.mark.parametrize(("columns", "spreads"), [(2, (1.0,)), (3, (1.0, 3.0)), (4, (1.0,))])
def test_a_table_of_many_rows_has_hardly_more_false_differences_than_one_row(columns, spreads):
    # Eight independent rows by themselves: 1 − .95⁸ = .34 of tables of two columns, more of wider
    # ones. As one procedure at most .05; standard error over 200 tables .015.
    runs = pool(3, metrics=ROWS)
    found = dealt(runs, ROWS, columns=columns, tables=200, spreads=spreads)
    assert found.false.share < 0.095
    assert set(found.by_metric) == set(ROWS)


@pytest.mark.parametrize("columns", [2, 3])
def test_with_half_of_the_rows_planted_one_difference_in_twenty_is_false_at_most(columns):
    found = dealt(pool(6, metrics=ROWS), ROWS, planted=ROWS[::2], columns=columns, tables=200)
    assert found.of_marks.share < 0.05
    assert min(share.share for share in found.found.values()) > 0.4


@pytest.mark.parametrize("luck", [0.0, 1.0])
def test_a_planted_gap_is_found_as_often_as_the_noncentral_t_says(luck, monkeypatch):
    monkeypatch.setattr(p_values, "SKEW_RATE", 0.0)
    runs = pool(4, luck=luck)
    found = dealt(runs, ["kid"], planted=["kid"], gap=2.0, columns=2, tables=600).found["kid"]
    shift = 2.0 * np.std([run["kid"] for run in runs], ddof=1)
    # What is left of the spread within a block is 1 for each of the two columns; half of the level
    # is each test's, and Welch's has 8 degrees of freedom where blocks share nothing.
    nc = shift / math.sqrt(2 / 5)
    least = power_of(nc, 8 if luck == 0 else 4, HEADLINE_LEVEL / 2)
    most = power_of(nc, 8 if luck == 0 else 4, HEADLINE_LEVEL)
    assert least - 0.05 < found.share < most + 0.05


@pytest.mark.parametrize("columns", [2, 3, 4])
def test_in_a_table_of_two_headline_rows_each_has_half_of_its_pairs_share(columns, monkeypatch):
    monkeypatch.setattr(p_values, "SKEW_RATE", 0.0)
    heads = ("kid", "linear-probe")
    runs = pool(5, blocks=200, metrics=heads)
    found = dealt(runs, heads, planted=["kid"], columns=columns, tables=250).found["kid"]
    # Luck is half of the variance, and the other half is 1. What other pairs lend counts as .45 to
    # 1 times the pair's own four degrees of freedom, and is worth more where spreads are equal.
    weight = 1.0 if columns == 2 else PRIMARY_WEIGHT / (columns - 1)
    shift, level = 3 * math.sqrt(2) / math.sqrt(2 / 5), HEADLINE_LEVEL * weight / 2
    least = power_of(shift, 4 if columns == 2 else 4 * (1 + LENT_DOWN), level / 2)
    most = power_of(shift, 8 if columns == 2 else 1e4, level)
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


def test_three_standard_deviations_are_found_at_five_blocks(monkeypatch):
    # Of one row alone strictness would be a guess: the level itself is tried here.
    monkeypatch.setattr(p_values, "SKEW_RATE", 0.0)
    found = dealt(pool(5, luck=0.0), ["kid"], planted=["kid"], columns=2, tables=400)
    assert found.found["kid"].share > 0.8


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
    pool, rows = prove_marks.pool_of(read_results(folder))
    return prove_marks.prove(pool, rows, tables=60), pool, metrics


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
    plan = (5, 7, 10)
    assert found.looks == plan
    again = dealt(pool, found.rows, columns=3, plan=plan, tables=60).false
    assert (three.columns, three.share, three.upper) == (3, again.share, again.upper())
    assert [(f.columns, f.metric) for f in found.found] == [
        (2, "kid"), (2, "own-view-recall"), (3, "kid"), (3, "own-view-recall"),
    ]  # fmt: skip
    kid = dealt(pool, found.rows, planted=["kid"], columns=3, plan=plan, tables=60)
    assert found.found[2].share == kid.found["kid"].share
    assert found.false_beside[2].share == kid.false.share
    looks = dealt(pool, found.rows, columns=2, looks=plan, tables=60).false
    assert found.false_looks[0].share == looks.share


def test_the_figures_stand_below_every_table_of_a_study(proof, tmp_path, monkeypatch):
    found, pool, _ = proof
    prove_marks.write(tmp_path / "a-a", found, pool)
    monkeypatch.setattr(published_figures, "SHIPPED", tmp_path / "a-a" / "proof.json")
    published_figures.published.cache_clear()
    made = study(tmp_path / "s", {"kid": {"transfer": [0.1, 0.2, 0.3]}})
    try:
        tables = {lang: study_table(made, lang) for lang in ("ja", "en")}
    finally:
        published_figures.published.cache_clear()
    worst = max(found.false, key=lambda result: result.upper)
    said = (
        f"{100 * worst.share:.1f} % of tables at 5 blocks (upper bound {100 * worst.upper:.1f} %)"
    )
    assert said in tables["en"].proof.replace(" .", " 0.")
    assert "at most 5 % of tables show a false ≠ in a headline row (KID)" in tables["en"].proof
    assert (
        "判定の確かさ: 実際の学習 33 回から、同じ手法どうしの表を 60 枚ずつ" in tables["ja"].proof
    )
    for table in tables.values():
        assert table.proof in " ".join(draw_html(table).split())
        drawn = draw_terminal(table).replace("\n", "").replace(" ", "")
        assert table.proof.replace(" ", "") in drawn


def test_the_same_seed_deals_the_same_tables():
    runs = pool(7)
    first, again = (dealt(runs, ["kid"], tables=40, seed=3) for _ in range(2))
    assert (first.false.of == again.false.of).all()


def test_a_pool_too_small_for_its_tables_is_refused():
    with pytest.raises(ValueError, match="4 blocks of the pool have 3 runs"):
        dealt(pool(0, blocks=4), ["kid"], columns=3)


# The headline distance.


def test_what_is_said_of_the_headline_is_what_its_figures_hold():
    """The shipped figures are counted again; bench/headline.py made them."""
    known = published_figures.chosen()
    said = {"distance": known.distance, "kid": known.kid}
    for name, of in known.figures.items():
        assert len(of) == known.sets == 9
        severity, placeholders, course, floor = [], [], [], []
        for values in of.values():
            error = values["error"]
            for kind in ("grain", "blur", "shift", "missing", "blend"):
                steps = [values["clean-0"], *(values[f"{kind}-{n}"] for n in range(1, 5))]
                severity.append(all(b >= a - error for a, b in itertools.pairwise(steps)))
            runs = [[values[f"course-{s}-{p}"] for p in range(10)] for s in range(3)]
            worst = max(max(run[1:]) for run in runs)
            placeholders += [values[key] > worst for key in ("white", "black", "mean", "noise")]
            course += [stats.spearmanr(range(10), run).statistic <= -0.9 for run in runs]
            floor.append(abs(values["train"]) <= 3 * error)
        counted = {"severity": severity, "placeholders": placeholders, "course": course}
        for key, held in {**counted, "floor": floor}.items():
            assert getattr(said[name], key) == (sum(held), len(held)), (name, key)
    # All that is asked, on all sets of 28 to 64 pixels; at 8 pixels a shift by half of the side is
    # no worse than the one before it.
    assert known.distance.severity == (44, 45)
    assert known.distance.placeholders == (36, 36) and known.distance.course == (27, 27)
    assert known.kid.placeholders[0] < 20 and known.kid.course[0] < 10


def test_why_the_headline_decides_stands_below_tables_that_it_decides(tmp_path):
    values = {"transfer": [0.1, 0.2, 0.3]}
    new = study(tmp_path / "new", {"feature-distance": values, "kid": values})
    old = study(tmp_path / "old", {"kid": values})
    for lang in ("ja", "en"):
        said = published_figures.chosen().sentence(lang)
        assert "36" in said and "27" in said and "44" in said
        assert study_table(new, lang).proof.endswith(said)
        assert said not in study_table(old, lang).proof
    assert "(Feature distance)" in study_table(new, "en").proof
    # The figures are of one encoder.
    for run in new.runs().values():
        text = json.dumps(run.scores()["scores"]).replace("efficientnet-lite0", "pixels")
        run.write_scores("scores", json.loads(text))
    assert "known data sets" not in study_table(new, "en").proof
