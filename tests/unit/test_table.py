"""The one table: the seed's facts as literals, verdicts and answers of known numbers, drawings."""

import base64
import csv
import hashlib
import io
import itertools
import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_study import COLUMNS, around, scans, study
from PIL import Image
from scipy import stats

from kurabe import bases
from kurabe.comparison import FORMATS, Screen, Table, compare, draw_html, draw_terminal, study_table
from kurabe.comparison.drawings.latex import latex_text
from kurabe.comparison.drawings.width import sayable, width, wrap
from kurabe.comparison.families import HEADLINE_LEVEL
from kurabe.comparison.metrics import METRICS
from kurabe.comparison.numbers import decimals_for, number, rounded_up, spread
from kurabe.comparison.p_values import strictness
from kurabe.comparison.results import read_results
from kurabe.comparison.t_tests import LENT_DOWN, LENT_UP
from kurabe.errors import UserError
from kurabe.methods import Method, Sampling, catalogue, choices_of, find
from kurabe.planned_looks import planned_looks, shares
from kurabe.recipe import Budget, DataSettings, Recipe
from kurabe.records import Ledger, StudyFolder
from kurabe.records.study import SHIPPED

SEED = ("transfer-learning-with-diffusion-models", "self-supervised-diffusion-model")
HO = (
    "Ho, J., Jain, A., & Abbeel, P. (2020). Denoising Diffusion Probabilistic Models. Advances in "
    "Neural Information Processing Systems (NeurIPS), 33, 6840–6851."
)


@pytest.fixture(scope="module")
def seed_ja():
    return compare([find(slug) for slug in SEED], "ja")


@pytest.fixture(scope="module")
def seed_en():
    return compare([find(slug) for slug in SEED], "en")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return scans(tmp_path_factory.mktemp("study") / "scans-study")


def measured(path, metrics, **options):
    return study_table(study(path / "s", metrics, **options), "en")


# The seed's page.


def test_the_seeds_rows_stand_in_the_seeds_order_with_its_marks(seed_ja):
    facts = [(row.label, row.mark) for row in seed_ja.group("facts")]
    assert facts == [
        ("分野", None), ("系統", None), ("提唱年", "≠"), ("提唱者", "≠"), ("種類", "≠"),
        ("原典", None), ("別名", None), ("関連", "≠"), ("概要", "≠"),
    ]  # fmt: skip
    assert [row.key for row in seed_ja.group("facts")] == [
        "field", "family", "proposed_year", "proposed_by", "kind", "source", "aliases", "related",
        "summary",
    ]  # fmt: skip


def test_the_seeds_introduction_and_headers(seed_ja):
    assert seed_ja.title == "手法を比較"
    assert seed_ja.introduction == (
        "選択した手法を並べて確認できます。異なる行はハイライト表示されます。",
    )
    names = [column.name for column in seed_ja.columns]
    assert names == ["拡散モデルを用いた転移学習", "自己教師あり拡散モデル"]


def test_the_seeds_values_letter_by_letter(seed_en, seed_ja):
    def said(key, table=seed_en):
        return [cell.text for cell in table.row(key).cells]

    assert said("field", seed_ja) == ["深層学習"] * 2
    assert [cell.literal for cell in seed_ja.row("family").cells] == ["Machine learning"] * 2
    assert said("family", seed_ja) == ["機械学習"] * 2
    assert said("proposed_year") == ["2020–2023", "2020–2022"]
    assert said("proposed_by") == [
        "Ho et al. (DDPM); transfer application popularized by Rombach et al. (Stable Diffusion) "
        "and Ruiz et al. (DreamBooth), 2020–2023",
        "Ho, J. et al.; extended by Chen, T. et al. and subsequent self-supervised diffusion works",
    ]
    assert said("kind") == [
        "Generative model with transfer learning",
        "Generative model with self-supervised representation objective",
    ]
    assert said("source") == [HO, HO]
    assert [cell.links[0].text for cell in seed_ja.row("source").cells] == ["link ↗"] * 2
    assert said("aliases") == [
        "diffusion model fine-tuning, pre-trained diffusion transfer, TL-DM, "
        "domain-adapted diffusion model",
        "SSDM, self-supervised score-based model, diffusion-based self-supervised learning, "
        "denoising diffusion with self-supervised pretraining",
    ]
    assert seed_ja.row("related").values == (5, 2)
    shared = set(find(SEED[0]).card.related) & set(find(SEED[1]).card.related)
    assert said("related", seed_ja)[0] == f"5（共通 {len(shared)}）"


def test_the_japanese_page_lists_the_seeds_aliases_first(seed_ja):
    assert seed_ja.row("aliases").values[0][:3] == [
        "diffusion model fine-tuning", "pre-trained diffusion transfer", "TL-DM",
    ]  # fmt: skip


def changed(slug, **fields):
    method = find(slug)
    card = {**method.card.model_dump(by_alias=True), **fields}
    return Method.model_validate({**method.model_dump(by_alias=True), "card": card})


def test_facts_are_compared_typed_not_as_strings():
    method = find("ddpm")
    related = tuple(reversed(method.card.related))
    years = {**method.card.years.model_dump(), "note": {"ja": "別の説明", "en": "Another note"}}
    assert len(related) > 1
    same = changed("ddpm", related=related, years=years, aliases={"ja": ["x"], "en": ["y"]})
    table = compare([method, same], "ja")
    assert {row.key: row.mark for row in table.group("facts") if row.mark} == {}


def test_one_column_or_none_has_no_marks_and_asks_for_more():
    for methods in ([find("lora")], []):
        table = compare(methods, "ja")
        assert table.introduction[-1] == "もう1つ選ぶと比較できます"
        assert {row.mark for row in table.rows} == {None}


def test_a_method_that_does_not_run_says_so_and_marks_nothing():
    table = compare([find("ddpm"), find("dit")], "en")
    start = table.row("start")
    assert (start.cells[1].text, start.cells[1].note) == ("—", "Does not run here")
    assert start.mark is None
    assert start.values[1] is None


def test_every_pair_of_the_catalogue_can_be_compared_in_both_languages():
    methods = list(catalogue().values())
    for lang in ("ja", "en"):
        table = compare(methods, lang)
        assert len(table.columns) == len(methods)
        assert all(len(row.cells) == len(row.values) == len(methods) for row in table.rows)


# Measured rows.


def test_a_cell_is_the_mean_and_half_of_students_interval(folder):
    row = study_table(folder, "en").row("kid")
    values = [block.value for block in row.cells[0].estimate.blocks]
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    estimate = row.cells[0].estimate
    assert (estimate.low, estimate.high) == pytest.approx((low, high), rel=1e-12)
    # Half of the interval at a standard deviation of .003 over 5: 2.776 · .003 / √5.
    assert row.cells[0].text == ".021 ± .004"
    assert row.values[0] == pytest.approx(0.021)
    assert row.label == "KID (efficientnet-lite0)"
    assert {ref.id: ref.text for ref in row.references} == {
        "floor": ".001", "copier": ".012", "base": ".152",
    }  # fmt: skip


def test_pairs_with_the_baseline_stand_as_primary_with_its_side_first(folder):
    pairs = study_table(folder, "en").row("kid").pairs
    primary = {(pair.first, pair.second) for pair in pairs if pair.family == "primary"}
    assert primary == {("scratch", c) for c in COLUMNS if c != "scratch"}
    transfer = next(pair for pair in pairs if pair.second == "transfer" and pair.first == "scratch")
    assert transfer.difference == pytest.approx(0.021 - 0.101)


def test_a_pairs_verdict_does_not_change_with_the_columns_shown_but_a_rows_may(folder):
    def pair(table):
        first, second = "self-supervised-diffusion-model", "ddpm"
        return next(p for p in table.row("kid").pairs if {p.first, p.second} == {first, second})

    slugs = ["transfer-learning-with-diffusion-models", "self-supervised-diffusion-model", "ddpm"]
    three = compare([find(slug) for slug in slugs], "en", folder)
    two = compare([find(slug) for slug in slugs[1:]], "en", folder)
    assert pair(three) == pair(two)
    assert (three.row("kid").mark, two.row("kid").mark) == ("≠", "?")


def test_a_method_without_runs_says_what_would_fill_its_cells(folder):
    table = compare([find("ddpm"), find("lora")], "ja", folder)
    cell = table.row("kid").cells[1]
    assert (cell.text, cell.note) == ("—", "未測定")
    assert cell.command == f"kurabe study {folder.path} --add lora"


def test_a_family_beside_its_own_default_shows_the_same_runs_once_in_the_answers(tmp_path):
    """A study ran full fine-tuning; its family is shown beside it, and both against DDPM."""
    runs = {"ours": "full-fine-tuning", "scratch": "ddpm"}
    kid = {"ours": around(0.05, 0.01, 1), "scratch": around(0.5, 0.01, 2)}
    folder = study(tmp_path / "s", {"kid": kid}, runs)
    family = "transfer-learning-with-diffusion-models"
    table = compare([find(m) for m in (family, "full-fine-tuning", "ddpm")], "en", folder)
    row = next(row for row in table.rows if row.key == "kid")
    assert {frozenset((p.first, p.second)): p.mark for p in row.pairs} == {
        frozenset((family, "ddpm")): "≠",
        frozenset(("full-fine-tuning", "ddpm")): "≠",
    }
    assert [sentence.mark for sentence in table.sentences if sentence.key == "images"] == ["≠"]


def test_how_a_column_works_is_read_from_its_runs(tmp_path):
    """The methods' own solver may have become another since the runs were drawn."""
    folder = study(tmp_path / "s", {"kid": {"scratch": around(0.5, 0.01, 2)}}, {"scratch": "ddpm"})
    chosen = choices_of(find("ddpm"))
    old = chosen.model_copy(update={"sampling": Sampling(solver="heun", spacing="uniform-t")})
    for run in folder.runs().values():
        recipe = Recipe(
            method="ddpm",
            choices=old,
            data=DataSettings(source="scans"),
            budget=Budget(images=10),
        )
        run.recipe_path.write_text(recipe.to_toml(), encoding="utf-8")
    for table, name in (
        (study_table(folder, "en"), "Heun"),
        (compare([find("ddpm")], "en"), "SDE"),
    ):
        row = next(row for row in table.rows if row.key == "sampling")
        assert row.cells[0].text.startswith(name)


def test_failed_runs_are_counted_and_never_dropped_in_silence(tmp_path):
    made = study(tmp_path / "s", {"kid": {c: around(0.1, 0.01, 1) for c in COLUMNS}})
    made.run("transfer", 2).update(status="failed", error="the loss was not finite")
    for block in range(1, 6):
        made.run("untouched", block).update(status="failed")
    row = study_table(made, "en").row("kid")
    assert row.cells[0].estimate.failed == 1
    assert row.cells[0].note == "1 failed"
    assert len(row.cells[0].estimate.blocks) == 4
    assert (row.cells[3].text, row.cells[3].note) == ("—", "Run failed")


def test_blocks_beyond_the_plan_are_flagged(tmp_path):
    table = measured(tmp_path, {"kid": {c: around(0.1, 0.01, 1) for c in COLUMNS}}, blocks=3)
    assert [b.added for b in table.row("kid").cells[0].estimate.blocks] == [False] * 3 + [True] * 2
    assert table.added == ("Blocks 4 and 5 were added after an earlier look, up to a planned one.",)


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_columns_beyond_the_plan_are_flagged(tmp_path, lang):
    made = study(tmp_path / "s", {"kid": {c: around(0.1, 0.01, 1) for c in COLUMNS}})
    for block in range(1, 6):
        made.run("scratch", block).update(added=True)
    table = study_table(made, lang)
    (said,) = table.added
    (late,) = [c.name for c in table.columns if c.name in said]
    at = [column.name for column in table.columns].index(late)
    cells = table.row("kid").cells
    assert [all(b.added for b in cell.estimate.blocks) for cell in cells] == [
        place == at for place in range(len(cells))
    ]
    assert said in draw_terminal(table).replace("\n  ", " ")


def test_exact_values_carry_no_spread_and_say_so(folder):
    row = study_table(folder, "en").row("total-parameters")
    assert (row.mark, row.note) == (None, "no spread; compared exactly")
    assert row.cells[0].text == "4.1"


def test_times_are_ratios(folder):
    pair = study_table(folder, "en").row("seconds").pairs[0]
    assert pair.ratio
    assert pair.margin == pytest.approx(1.1)
    assert pair.difference == pytest.approx(1.0, abs=0.02)


def test_the_feature_distance_is_the_headline_and_stands_beside_its_marks(tmp_path):
    """Fault: by KID alone a blank page ties with transfer, and every verdict hung on it."""
    names = list(COLUMNS)
    far = dict(zip(names, (0.2, 0.5, 0.4, 0.6), strict=True))
    distance = {c: around(mean, 0.01, i) for i, (c, mean) in enumerate(far.items())}
    kid = {c: around(1 - mean, 0.01, i) for i, (c, mean) in enumerate(far.items())}
    table = measured(tmp_path, {"feature-distance": distance, "kid": kid})
    rows = {row.key: row for row in table.rows}
    assert [key for key, row in rows.items() if row.headline] == ["feature-distance"]
    row = rows["feature-distance"]
    assert (row.label, row.better) == ("Feature distance (efficientnet-lite0)", "down")
    assert {ref.label: ref.text for ref in row.references} == {
        "real against real": ".001", "training images as samples": ".002",
        "the untouched base": ".300", "blank pages": "1.466", "nothing but noise": "1.013",
        "training images with noise of .1": ".092",
    }  # fmt: skip
    said = {s.key: s for s in table.sentences}["images"]
    assert said.text == "transfer learning with diffusion models is ahead"
    assert said.detail.startswith("Feature distance (efficientnet-lite0): .200 ± ")


def test_answers_follow_the_headline_that_a_study_began_with(tmp_path):
    # Its first columns are of before the feature distance was measured.
    kid = {c: around(0.1 * i, 0.005, i) for i, c in enumerate(COLUMNS, start=1)}
    later = {c: kid[c][::-1] for c in list(COLUMNS)[2:]}
    table = measured(tmp_path, {"feature-distance": later, "kid": kid})
    assert [row.key for row in table.rows if row.headline] == ["kid"]
    said = {s.key: s for s in table.sentences}["images"]
    assert said.detail.startswith("KID (efficientnet-lite0): .100 ± ")


def test_the_floors_standard_error_widens_the_margin_of_kid(tmp_path):
    made = study(tmp_path / "s", {"kid": {c: around(0.1, 0.01, 1) for c in COLUMNS}})
    for run in made.runs().values():
        scores = run.scores()["scores"]
        scores["metrics"]["kid"]["detail"] = {"floor_se": 0.02}
        run.write_scores("scores", scores)
    assert study_table(made, "en").row("kid").pairs[0].margin == pytest.approx(0.04)


def test_scores_on_other_images_stay_out_of_the_table(tmp_path):
    made = study(tmp_path / "s", {"kid": {c: around(0.1, 0.01, 1) for c in COLUMNS}})
    before = study_table(made, "en")
    made.run("transfer", 1).write_scores("on-else", {"metrics": {"recall": {"value": 0.5}}})
    assert study_table(made, "en") == before


def test_a_study_that_is_none_is_named(tmp_path):
    with pytest.raises(UserError, match=r"study\.toml is missing"):
        study_table(study(tmp_path / "s", {}).__class__(tmp_path), "en")


def test_every_metric_has_words_in_both_languages_and_a_margin_or_a_reason():
    for metric in METRICS.values():
        assert metric.label("ja")
        assert metric.label("en")
        margins = metric.margin + metric.relative + metric.floor_errors
        assert (margins > 0) == (metric.scale in ("linear", "log")), metric.id


# Answers.


def answers(path, metrics, **options):
    return {s.key: s for s in measured(path, metrics, **options).sentences}


def test_a_clear_leader_is_ahead(folder):
    said = {s.key: s for s in study_table(folder, "en").sentences}["images"]
    assert (said.text, said.mark) == ("transfer learning with diffusion models is ahead", "≠")
    assert said.detail == (
        "KID (efficientnet-lite0): .021 ± .004 against .094 ± .011 "
        "(self-supervised diffusion model)"
    )


def test_what_cannot_be_told_apart_has_its_price(tmp_path):
    means = {"transfer": 0.81, "self-supervised": 0.84, "scratch": 0.5, "untouched": 0.4}
    recall = {c: around(mean, 0.02, i) for i, (c, mean) in enumerate(means.items())}
    said = answers(tmp_path, {"own-view-recall": recall})["features"]
    assert said.mark == "?"
    assert said.text == (
        "cannot tell self-supervised diffusion model and transfer learning with diffusion models "
        "apart; DDPM (from scratch) and untouched base behind"
    )
    more, minutes, total = (
        int(re.search(pattern, text)[1])
        for pattern, text in (
            (r"^(\d+) more blocks", said.detail),
            (r"\((\d+) min\)", said.detail),
            (r"--seeds (\d+)$", said.command),
        )
    )
    # Four columns of a minute each on two workers: two minutes a block.
    assert (total, minutes) == (5 + more, 2 * more)
    looks = planned_looks(5)
    a, b = (np.array(recall[c]) for c in ("self-supervised", "transfer"))
    pairs = [tuple(map(np.array, two)) for two in itertools.combinations(recall.values(), 2)]
    gap = abs((a - b).mean())

    def with_lent(variance, of_pairs, df):
        lends = LENT_UP if variance <= np.mean(of_pairs) else LENT_DOWN
        spread = np.sqrt((variance + lends * np.mean(of_pairs)) / (1 + lends))
        return spread, (1 + lends) * df

    def apart(x, y):
        return x.var(ddof=1) + y.var(ddof=1)

    welch = apart(a, b) ** 2 / (a.var(ddof=1) ** 2 + b.var(ddof=1) ** 2)
    tests = [
        with_lent((a - b).var(ddof=1), [(x - y).var(ddof=1) for x, y in pairs], 4),
        with_lent(apart(a, b), [apart(x, y) for x, y in pairs], 4 * welch),
    ]
    spread, degrees = min(tests, key=lambda of: stats.t.sf(gap / of[0] * np.sqrt(5), of[1]))
    places = np.array([list(recall).index(c) for c in ("self-supervised", "transfer")])
    strict = strictness(np.array([list(recall.values())]), places[:1], places[1:])[0, 0]

    def power(n):
        # All other pairs are found and have handed on their weight; degrees are rounded down, and
        # half of the level is each test's.
        level = HEADLINE_LEVEL * dict(zip(looks, shares(looks), strict=True))[n] / strict / 2
        df = math.floor(degrees * (n - 1) / 4)
        t = stats.t.isf(level / 2, df)
        shift = gap / spread * np.sqrt(n)
        return stats.nct.sf(t, df, shift) + stats.nct.cdf(-t, df, shift)

    before = looks[looks.index(total) - 1]
    assert power(total) >= 0.8
    assert before == 5 or power(before) < 0.8


def test_what_is_practically_equal_is_so_and_others_are_behind(tmp_path):
    means = {"transfer": 0.8, "self-supervised": 0.8, "scratch": 0.5, "untouched": 0.4}
    recall = {c: around(mean, 0.002, i) for i, (c, mean) in enumerate(means.items())}
    said = answers(tmp_path, {"own-view-recall": recall})["features"]
    assert said.mark == "≈"
    assert "are practically equal; DDPM (from scratch) and untouched base behind" in said.text


def test_a_lead_inside_the_margin_is_called_small(tmp_path):
    knn = {"transfer": around(0.805, 0.0005, 0), "scratch": around(0.8, 0.0005, 1)}
    said = answers(tmp_path, {"knn": knn}, columns={c: COLUMNS[c] for c in knn})["features"]
    assert said.text == "transfer learning with diffusion models is ahead, by less than matters"


def test_features_below_the_line_have_shown_nothing(tmp_path):
    knn = {"transfer": around(0.61, 0.002, 0), "scratch": around(0.5, 0.002, 1)}
    said = answers(tmp_path, {"knn": knn}, columns={c: COLUMNS[c] for c in knn})["features"]
    assert said.detail.endswith("below raw pixels (.620): these features have shown nothing")


@pytest.mark.parametrize(
    ("share", "spread", "mark"), [(0.01, 0.004, "≈"), (0.30, 0.02, "≠"), (0.04, 0.03, "?")]
)
def test_copying_is_warned_of(tmp_path, share, spread, mark):
    copies = {"transfer": around(share, spread, 0), "scratch": around(0.01, 0.002, 1)}
    made = {c: COLUMNS[c] for c in copies}
    said = answers(tmp_path, {"near-copies": copies}, columns=made)["copies"]
    assert said.mark == mark
    assert "transfer" in said.text


def counted(tmp_path, transfer, scratch, nearest=None, samples=128, real=90):
    """The sentence where each block has so many near-copies among the samples."""
    made = {c: COLUMNS[c] for c in ("transfer", "scratch", "untouched")}
    metrics = {
        "near-copies": {
            "transfer": [k / samples for k in transfer], "scratch": [k / samples for k in scratch]
        }
    }  # fmt: skip
    if nearest is not None:
        metrics["nearest-to-training"] = nearest
    folder = study(tmp_path, metrics, columns=made)
    for run in folder.runs().values():
        scores = run.score("scores")
        for entry in scores["metrics"].values():
            entry |= {"n": samples, "detail": {"held_out": real}}
        run.write_scores("scores", scores)
    return {
        lang: next(s for s in study_table(folder, lang).sentences if s.key == "copies")
        for lang in ("en", "ja")
    }


def test_three_copies_in_every_block_are_not_called_none(tmp_path):
    """3 of 128 are 2.3 %, less than two points above real images' 1 %; but of so few images that
    the share is known to four points at best, however alike the blocks."""
    said = counted(tmp_path, [3] * 5, [0] * 5)
    assert said["en"].mark == "?"
    assert said["en"].text == (
        "cannot tell whether transfer learning with diffusion models copies training images"
    )
    assert said["en"].detail == (
        "near-copies a block: 3 of 128 (transfer learning with diffusion models) and 0 of 128 "
        "(DDPM (from scratch)); real held-out images: 1 of 90"
    )
    assert "128 枚中 3 枚" in said["ja"].detail
    many = counted(tmp_path / "many", [30] * 5, [0] * 5, samples=1280, real=1200)
    assert many["en"].mark == "≈"
    assert many["en"].text == (
        "a few samples of transfer learning with diffusion models are near-copies of training "
        "images"
    )
    assert "わずかにある" in many["ja"].text
    none = counted(tmp_path / "none", [0] * 5, [0] * 5)
    assert none["en"].text == "no copy of a training image was seen"


def test_the_table_says_on_how_many_test_images_its_marks_stand_and_how_often_they_were_opened(
    tmp_path,
):
    folder = study(tmp_path, {"knn": {c: around(0.8, 0.01, 1) for c in COLUMNS}})
    assert study_table(folder, "en").tested == ()
    for place, run in enumerate(folder.runs().values()):
        run.update(test_images=45)
        ledger = Ledger(run.path / "test-openings.jsonl")
        for _ in range(1 if place else 3):
            ledger.open(f"checkpoint {place}", "0" * 16)
    table = study_table(folder, "en")
    assert table.tested == (
        "The marks stand on 45 test images of this data set.",
        "The test images were opened 22 times for 20 checkpoints: some were measured again.",
    )
    assert set(table.tested) < set(table.footnotes)
    assert "テスト画像 45 枚" in study_table(folder, "ja").tested[0]


def test_a_shipped_study_says_what_it_stands_on_and_whether_its_rules_are_of_before():
    earlier = study_table(StudyFolder(SHIPPED / "fashion-unlabelled"), "en").tested
    assert earlier[0] == "The marks stand on 3,000 test images of this data set."
    assert earlier[1].startswith("Measured by the rules of before")
    for name, tested, base in (
        ("emoji-openmoji", "418", "emoji-32"),
        ("fashion-animals", "1,710", "fashion-28"),
    ):
        today = study_table(StudyFolder(SHIPPED / name), "en").tested
        assert today == (
            f"The marks stand on {tested} test images of this data set.",
            f"{base} is meant as it was before it was trained anew.",
        )


@pytest.mark.parametrize(("name", "count"), [("emoji-openmoji", 30), ("fashion-animals", 25)])
def test_blank_and_noise_are_worse_than_every_column_of_a_shipped_study(name, count):
    """The first headline row: every column's worst block against its best reference of nothing."""
    runs = StudyFolder(SHIPPED / name).runs()
    rows = [run.score("scores")["metrics"]["feature-distance"] for run in runs.values()]
    assert len(rows) == count
    nothing = [row["references"][name] for row in rows for name in ("blank", "noise")]
    assert max(row["value"] for row in rows) < min(nothing)


def test_the_number_of_rates_tried_stands_beside_each_rate(tmp_path):
    folder = StudyFolder(tmp_path)
    shutil.copytree(SHIPPED / "fashion-unlabelled", tmp_path, dirs_exist_ok=True)
    row = next(r for r in study_table(folder, "en").rows if r.key == "learning-rate")
    assert [cell.text for cell in row.cells] == ["0.001 (none tried)"] * 4
    state = json.loads(folder.state_path.read_text())
    tried = {"lr": 0.003, "losses": {"0.001": 2, "0.003": 1, "0.0003": 3}, "on_edge": True,
             "seconds": 1.0, "images": 1}  # fmt: skip
    state["learning_rates"] = {"ddae": tried, "masked-diffusion": tried | {"on_edge": False}}
    folder.state_path.write_text(json.dumps(state))
    row = next(r for r in study_table(folder, "en").rows if r.key == "learning-rate")
    assert [cell.text for cell in row.cells][:3] == [
        "0.001 (best of 3, at the end of those tried)", "0.001 (best of 3)", "0.001 (none tried)",
    ]  # fmt: skip
    folder.state_path.write_text("[]")
    assert study_table(folder, "ja").rows


def test_the_seconds_row_says_what_was_asked_and_who_is_off(tmp_path):
    """Of 60 s: 61, 54 and, at four times the budget, 246."""
    columns = {"scratch": "ddpm", "masked": "masked-diffusion", "x4": "ddpm", "untouched": "base"}
    means = {"scratch": 61.0, "masked": 54.0, "x4": 246.0, "untouched": 0.0}
    seconds = {c: around(mean, mean / 100, i) for i, (c, mean) in enumerate(means.items())}
    folder = study(tmp_path, {"seconds": seconds}, columns=columns, factors={"x4": 4})

    def note(lang):
        return next(r for r in study_table(folder, lang).rows if r.key == "seconds").note

    assert note("en") == "60 s asked; Masked diffusion (MaskDiT) −10.0 %"
    assert note("ja").startswith("指定は 60 秒、")
    text = folder.study_path.read_text()
    folder.study_path.write_text('equal = "images"\n' + text)
    assert note("en") is None


def test_samples_nearer_to_training_than_chance_and_the_base_are_told_of(tmp_path):
    """As emoji-openmoji has it: .635 ± .036, where the base has .530; and a column at .53."""
    nearest = {
        "transfer": around(0.635, 0.036, 1),
        "scratch": around(0.53, 0.03, 2),
        "untouched": around(0.53, 0.02, 3),
    }
    said = counted(tmp_path, [0] * 5, [0] * 5, nearest)["en"].text
    assert said == (
        "no copy of a training image was seen; transfer learning with diffusion models (share "
        "nearest .635, the base .530) lies nearer to training images than chance"
    )
    even = counted(
        tmp_path / "even", [0] * 5, [0] * 5, nearest | {"untouched": nearest["transfer"]}
    )
    assert even["en"].text == "no copy of a training image was seen"
    # 65 of 128 in every block is one more than chance, however alike the blocks.
    alike = {key: [65 / 128] * 5 for key in nearest}
    said = counted(tmp_path / "alike", [0] * 5, [0] * 5, alike)["en"].text
    assert "nearer" not in said


@pytest.mark.parametrize(
    ("four", "sixteen", "text", "mark"),
    [
        (0.09, 0.05, "even DDPM (from scratch), 16 × the budget stays behind", "≠"),
        (0.09, 0.0205, "DDPM (from scratch), 16 × the budget draws level with", "≈"),
        (0.01, 0.005, "DDPM (from scratch), 4 × the budget overtakes", "≠"),
    ],
)
def test_where_a_larger_budget_breaks_even(tmp_path, four, sixteen, text, mark):
    columns = {
        "transfer": COLUMNS["transfer"], "scratch": "ddpm", "x4": "ddpm", "x16": "ddpm",
    }  # fmt: skip
    means = {"transfer": 0.0205, "scratch": 0.1, "x4": four, "x16": sixteen}
    kid = {c: around(mean, 0.0004, i) for i, (c, mean) in enumerate(means.items())}
    said = answers(tmp_path, {"kid": kid}, columns=columns, factors={"x4": 4, "x16": 16})
    assert said["budget"].text.startswith(text)
    assert said["budget"].mark == mark
    # The larger budgets take no part in the answer at the study's own.
    assert said["images"].text == "transfer learning with diffusion models is ahead"


def test_two_blocks_are_too_few_for_an_answer(tmp_path):
    said = answers(tmp_path, {"kid": {c: [0.1, 0.2] for c in COLUMNS}}, blocks=2)["images"]
    assert (said.mark, said.detail) == (
        "?",
        "marks begin at the first planned look, after 5 blocks",
    )
    assert said.command.endswith("--seeds 5")


def test_the_table_says_at_which_look_its_marks_were_made(tmp_path):
    metrics = {"kid": {c: around(0.1 * i, 0.01, i, 6) for i, c in enumerate(COLUMNS, start=1)}}
    table = study_table(study(tmp_path / "s", metrics), "en")
    assert table.looks.startswith(
        "Marks were made after 5 blocks, as planned. The next looks are after 7, 10, 15 and 20"
    )
    assert table.looks in table.footnotes
    assert table.study.looks == (5, 7, 10, 15, 20)
    # The sixth block waits for the look at seven.
    assert {(p.look, p.blocks) for p in table.row("kid").pairs} == {(5, 5)}
    assert json.loads(table.to_json())["rows"][-1]["pairs"][0]["look"] == 5
    assert "mark made after5 blocks" in Page(draw_html(table)).text.replace("\n", "").replace(
        "  ", ""
    )
    japanese = study_table(read_results(StudyFolder(tmp_path / "s")), "ja")
    assert "計画どおり 5 ブロックの時点" in draw_terminal(japanese).replace("\n  ", "")


def test_before_the_first_look_the_table_says_when_marks_begin(tmp_path):
    metrics = {"kid": {c: around(0.1, 0.01, i, 4) for i, c in enumerate(COLUMNS)}}
    table = study_table(study(tmp_path / "s", metrics), "en")
    assert table.looks == "Marks begin after 5 blocks, as planned."
    assert {(p.mark, p.look) for p in table.row("kid").pairs} == {("?", None)}


def test_a_look_waits_for_runs_that_go_on_and_not_for_those_that_failed(tmp_path):
    metrics = {"kid": {c: around(0.1 * i, 0.01, i) for i, c in enumerate(COLUMNS, start=1)}}
    made = study(tmp_path / "s", metrics)
    made.run("scratch", 5).update(status="failed")
    looks = {(p.look, p.blocks) for p in study_table(made, "en").row("kid").pairs}
    assert looks == {(5, 5), (5, 4)}
    made.run("scratch", 4).update(status="interrupted")
    pairs = study_table(made, "en").row("kid").pairs
    assert {(p.look, "scratch" in (p.first, p.second)) for p in pairs} == {(5, False), (None, True)}


def test_a_column_that_failed_in_all_blocks_leaves_the_others_their_marks(tmp_path):
    metrics = {"kid": {c: around(0.1 * i, 0.01, i) for i, c in enumerate(COLUMNS, start=1)}}
    alone = study_table(
        study(tmp_path / "a", metrics, {k: COLUMNS[k] for k in ("transfer", "scratch")}), "en"
    )
    made = study(tmp_path / "s", metrics)
    for column in ("self-supervised", "untouched"):
        for block in range(1, 6):
            made.run(column, block).update(status="failed")
    table = study_table(made, "en")
    row = table.row("kid")
    assert [cell.note for cell in row.cells] == [None, "Run failed", None, "Run failed"]
    assert [pair.model_dump() for pair in row.pairs] == [
        pair.model_dump() for pair in alone.row("kid").pairs
    ]


def test_a_row_of_too_few_images_has_no_mark_and_says_so(tmp_path):
    columns = {key: COLUMNS[key] for key in ("transfer", "scratch")}
    made = study(tmp_path / "s", {"knn": {c: [0.6, 0.7, 0.9, 0.8, 0.7] for c in columns}}, columns)
    for run in made.runs().values():
        found = run.score("scores")
        found["metrics"]["knn"]["n"] = 3
        run.write_scores("scores", found)
    for lang, said in (
        ("en", "no mark: 3 images are too few for this row, which needs at least 23"),
        ("ja", "画像 3 枚では判定しません（この行には 23 枚以上が必要）"),
    ):
        table = study_table(made, lang)
        row = table.row("knn")
        assert (row.mark, row.note, row.pairs[0].images) == (None, said, 3)
        assert said.replace(" ", "") in draw_terminal(table).replace("\n", "").replace(" ", "")
        [features] = [s for s in table.sentences if s.key == "features"]
        assert (features.mark, features.command) == ("?", None)
        assert "3" in features.detail


# Drawings.


def test_json_is_of_the_promised_shape_and_comes_back(folder):
    table = study_table(folder, "ja")
    data = json.loads(FORMATS["json"](table))
    assert data["lang"] == "ja"
    assert [set(c) >= {"id", "name"} for c in data["columns"]] == [True] * 4
    kid = next(row for row in data["rows"] if row["key"] == "kid")
    assert {"group", "key", "label", "values", "mark"} <= set(kid)
    assert (kid["group"], kid["mark"], len(kid["values"])) == ("measured", "≠", 4)
    blocks = [block["value"] for block in kid["cells"][0]["estimate"]["blocks"]]
    assert np.mean(blocks) == pytest.approx(kid["values"][0])
    assert Table.from_json(table.to_json()).to_json() == table.to_json()


def test_a_row_that_differs_alone_says_why_it_is_not_marked(tmp_path):
    same = {"transfer": [0.1, 0.2, 0.3, 0.2, 0.1], "scratch": [0.2, 0.1, 0.3, 0.1, 0.2]}
    apart = {"transfer": around(0.55, 0.03, 1), "scratch": around(0.5, 0.03, 2)}
    columns = {key: COLUMNS[key] for key in same}
    made = study(tmp_path / "s", {"kid": same, "recall": apart}, columns=columns)
    for lang, reason in (
        (
            "ja",
            "この行だけの差: 多くの行のなかでは偶然かもしれない（主要行の KID では区別できない）",
        ),
        (
            "en",
            "differs by itself, which among so many rows may be chance: "
            "the headline rows (KID) cannot tell",
        ),
    ):
        table = study_table(made, lang)
        row = table.row("recall")
        assert (row.mark, row.note, row.pairs[0].gated) == ("?", reason, True)
        assert [r.key for r in table.rows if r.headline] == ["kid"]
        assert reason.replace(" ", "") in draw_terminal(table).replace("\n", "").replace(" ", "")
        assert reason in " ".join(Page(draw_html(table)).text.split())


def test_the_json_names_no_place_on_this_machine(folder):
    assert str(folder.path.parent) in study_table(folder, "en").study.folder
    shared = study_table(replace(read_results(folder), place="scans-study"), "en")
    assert str(folder.path.parent) not in shared.to_json()
    assert shared.study.command == "kurabe study scans-study"
    grid = json.loads(shared.to_json())["rows"][-1]["cells"][0]["grid"]
    assert (folder.path / grid["file"]).is_file()


def texts_of(table):
    rows = table.group("facts", "how", "measured")
    return [[cell.text for cell in row.cells] for row in rows], [row.mark or "" for row in rows]


def test_csv_holds_every_cell_and_mark_behind_a_byte_order_mark(folder):
    table = study_table(folder, "ja")
    text = FORMATS["csv"](table)
    assert text.startswith("\ufeff")
    [head, *lines] = csv.reader(io.StringIO(text[1:]))
    assert head[2:-1] == [column.name for column in table.columns]
    assert ([line[2:-1] for line in lines], [line[-1] for line in lines]) == texts_of(table)


def test_a_spreadsheet_runs_nothing_from_a_cell():
    odd = changed("ddpm", kind={"ja": "=HYPERLINK(1)", "en": "=HYPERLINK(1)"})
    assert "'=HYPERLINK(1)" in FORMATS["csv"](compare([odd], "en"))


def test_markdown_holds_every_cell(folder):
    table = study_table(folder, "en")
    lines = [line for line in FORMATS["markdown"](table).splitlines() if line.startswith("|")][2:]
    cells = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in lines]
    plain = [[re.sub(r"\\(.)", r"\1", c).replace("&amp;", "&") for c in line] for line in cells]
    expected, _ = texts_of(table)
    assert [line[1 : 1 + len(table.columns)] for line in plain] == expected


def test_markdown_and_latex_let_nothing_through():
    evil = r"<script>alert(1)</script> | \input{x} $a_b$ `c` *d* & 50 % # ~ ^"
    table = compare([changed("ddpm", kind={"ja": evil, "en": evil})], "en")
    markdown = FORMATS["markdown"](table)
    assert "<script>" not in markdown
    assert r"\| \\input{x} $a\_b$ \`c\` \*d\* &amp;" in markdown
    latex = FORMATS["latex"](table)
    assert r"\input{" not in latex
    assert r"\textbackslash{}input\{x\} \$a\_b\$ `c` *d* \& 50 \% \#" in latex


def test_latex_holds_every_cell_as_text(folder):
    table = study_table(folder, "en")
    lines = [line for line in FORMATS["latex"](table).splitlines() if line.endswith(r" \\")][1:]
    cells = [re.split(r"(?<!\\) & ", line.removesuffix(r" \\")) for line in lines]
    expected, marks = texts_of(table)
    assert [line[1:-1] for line in cells] == [[latex_text(t) for t in row] for row in expected]
    assert [line[-1] for line in cells] == [latex_text(mark) for mark in marks]
    assert latex_text(".021 ± .004") == r".021 $\pm$ .004"


def test_bibtex_has_each_source_once_under_a_key_of_its_own():
    table = compare(list(catalogue().values()), "en")
    text = FORMATS["bibtex"](table)
    keys = re.findall(r"^@\w+\{(.+),$", text, re.M)
    assert len(keys) == len(set(keys)) == len(table.sources)
    assert text.count("{") == text.count("}")
    assert "author = {Ho, Jonathan and Jain, Ajay and Abbeel, Pieter}" in text
    assert "title = {{Denoising Diffusion Probabilistic Models}}" in text


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX here")
def test_latex_compiles_a_table_and_bibtex_reads_the_sources(folder, tmp_path):
    every = compare(list(catalogue().values())[:6], "en")
    tables = [FORMATS["latex"](table) for table in (study_table(folder, "en"), every)]
    sources = compare(list(catalogue().values()), "en")
    (tmp_path / "sources.bib").write_text(FORMATS["bibtex"](sources), "utf-8")
    text = "\n\\newpage\n".join(tables)
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs,array}"
        rf"\begin{{document}}{text}\nocite{{*}}\bibliographystyle{{plain}}"
        r"\bibliography{sources}\end{document}",
        "utf-8",
    )

    def run(*command):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
        return done.stdout

    latex = ("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex")
    run(*latex)
    assert "Warning" not in run("bibtex", "paper").replace("Warning--empty", "")
    cited = (tmp_path / "paper.bbl").read_text("utf-8", errors="replace")
    assert cited.count("\\bibitem") == len(sources.sources)
    assert "Missing character" not in run(*latex) + (tmp_path / "paper.log").read_text("latin-1")


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.style, self._in = [], "", "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in = tag

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in == "style":
            self.style += data
        else:
            self.text += data


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_the_page_holds_every_text_and_loads_nothing(folder, lang):
    table = study_table(folder, lang)
    page = Page(draw_html(table))
    shown = " ".join(page.text.split())
    for row in table.rows:
        assert row.label in shown
        for cell in row.cells:
            assert " ".join(cell.text.split()) in shown or row.key == "aliases"
    for sentence in table.sentences:
        assert sentence.text in shown
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "base", "form"}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        if tag == "img":
            assert attributes["src"].startswith("data:image/png;base64,")
    assert "url(" not in page.style
    assert "@import" not in page.style


def test_a_notebook_shows_the_page_in_a_frame_of_its_own(folder):
    table = study_table(folder, "ja")
    [(tag, attributes)] = Page(table._repr_html_()).tags
    assert (tag, attributes["sandbox"]) == ("iframe", "allow-popups")
    assert attributes["srcdoc"] == draw_html(table)


def test_the_pages_policy_admits_its_own_style_alone(folder):
    page = Page(draw_html(study_table(folder, "ja")))
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_markup_in_a_card_is_text_on_the_page():
    evil = "<img src=x onerror=alert(1)>\"'&"
    table = compare([changed("ddpm", name={"ja": evil, "en": evil})], "en")
    text = draw_html(table)
    assert "<img src=x" not in text
    assert evil in Page(text).text


def test_tiles_are_enlarged_by_whole_pixels_and_are_the_runs_own(folder):
    page = Page(draw_html(study_table(folder, "ja"), ["samples"]))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert {(image["width"], image["height"]) for image in images} == {("64", "64")}
    with Image.open(io.BytesIO(base64.b64decode(images[0]["src"].partition(",")[2]))) as first:
        tile = np.asarray(first)
    with Image.open(folder.run("transfer", 1).sample_grids()[0]) as sheet:
        assert np.array_equal(tile, np.asarray(sheet)[:32, :32])
    assert ".tiles img { image-rendering: pixelated;" in page.style


def test_rows_that_differ_are_highlighted_and_said_aloud(seed_ja):
    page = Page(draw_html(seed_ja))
    rows = {a["data-key"]: a["class"] for tag, a in page.tags if tag == "tr" and "data-key" in a}
    differs = {key for key, kind in rows.items() if kind == "differs"}
    facts = {row.key for row in seed_ja.group("facts")}
    assert differs & facts == {"proposed_year", "proposed_by", "kind", "related", "summary"}
    assert page.text.count("値が異なる") == len(differs)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1])
def test_every_text_colour_has_the_contrast_of_wcag_aa_on_every_ground(seed_ja, theme):
    style = Page(draw_html(seed_ja)).style
    colours = {
        name: pair[theme]
        for name, *pair in re.findall(r"--([a-z]+): light-dark\((#\w{6}), (#\w{6})\)", style)
    }
    assert {"highlight", "sheet", "paper", "ink"} <= set(colours)
    for text in ("ink", "soft", "mark", "accent", "better", "worse"):
        for ground in ("paper", "sheet", "highlight"):
            light, dark = sorted((luminance(colours[text]), luminance(colours[ground])))[::-1]
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


# The terminal.


def cursor_columns(line, ambiguous):
    """Where each piece of text starts when a terminal with that idea of width draws the line."""
    starts, cell, text = [], 0, ""
    for part in re.split(r"(\x1b\[\d+G)", line):
        if move := re.fullmatch(r"\x1b\[(\d+)G", part):
            target = int(move[1]) - 1
            assert cell <= target, (text, part)
            cell = target
        elif part:
            starts.append(cell)
            cell, text = cell + width(part, ambiguous), part
    return starts


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_columns_stand_straight_whatever_width_the_terminal_gives_marks(folder, lang):
    lines = draw_terminal(study_table(folder, lang), Screen(110, placed=True)).splitlines()
    placed = [line for line in lines if "\x1b[" in line]
    assert len(placed) > 40
    for line in placed:
        assert cursor_columns(line, 1) == cursor_columns(line, 2)


def test_marks_stand_in_one_last_column(seed_en):
    lines = draw_terminal(seed_en, Screen(100)).splitlines()
    marked = [line for line in lines if line.endswith("≠")]
    assert len(marked) == len([row for row in seed_en.rows if row.mark])
    assert len({len(line) for line in marked}) == 1


@pytest.mark.parametrize("columns", [60, 80, 132])
@pytest.mark.parametrize("lang", ["ja", "en"])
def test_no_line_is_wider_than_the_terminal(folder, lang, columns):
    text = draw_terminal(study_table(folder, lang), Screen(columns))
    long = [line for line in text.splitlines() if width(line) > columns]
    # A command is never broken, so that it can be copied.
    assert all(line.strip().startswith("kurabe") for line in long)


@pytest.mark.parametrize("encoding", ["cp932", "euc_jp", "shift_jis"])
def test_what_the_encoding_lacks_has_a_stand_in(folder, encoding):
    text = draw_terminal(study_table(folder, "ja"), Screen(100, encoding))
    assert text.encode(encoding).decode(encoding) == text
    assert "\\u" not in text


def test_stand_ins_of_cp932_and_ascii():
    assert sayable("≠ ≈ — link ↗ ± 2020–2023", "cp932") == "≠ ≒ ― link → ± 2020-2023"
    assert sayable("≠≈—−", "ascii") == "!=~--"
    assert sayable("é", "ascii") == "\\xe9"


def test_lines_break_as_japanese_breaks():
    text = "拡散モデルを用いた転移学習。（Stable Diffusion）も、ここで学ぶ。"
    for columns in range(6, 40):
        lines = wrap(text, columns)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert all(width(line, 2) <= columns for line in lines)
    lines = wrap("あいうえおかきくけ。こさしす（せそ", 18)
    assert not any(line[0] in "。、）" for line in lines)


# Numbers.


def test_numbers_are_written_as_in_papers():
    assert [number(x, 3) for x in (0.021, -0.0021, 1.5, -0.0001, 0)] == [
        ".021", "−.002", "1.500", ".000", ".000",
    ]  # fmt: skip
    assert number(12800.4, 0) == "12,800"
    assert spread(0.021, 0.017, 0.025, 3) == ".021 ± .004"
    assert spread(60.31, 60.1, 60.5, 0) == "60"
    assert [decimals_for(v) for v in ([61.0, 60.2], [0.61, 16.5], [4.1], [0.0], [512.3])] == [
        0, 2, 1, 0, 0,
    ]  # fmt: skip


def test_a_promised_gap_is_never_smaller_than_it_is():
    assert rounded_up(0.0301, 2) == ".04"
    assert rounded_up(0.03, 2) == ".03"
    assert rounded_up(0.0002, 2) == ".01"


def test_what_columns_set_apart_stands_in_a_row() -> None:
    """fashion-unlabelled's contrastive method pairs views in batches of 64; the others take 32."""
    rows = {
        row.key: row for row in study_table(StudyFolder(SHIPPED / "fashion-unlabelled"), "en").rows
    }
    batches = [32, 32, 64, 32]
    cells = [cell.text for cell in rows["settings"].cells]
    assert cells == [f"optimiser.batch = {batch}" for batch in batches]
    assert rows["settings"].mark == "≠"
    other = study_table(StudyFolder(SHIPPED / "emoji-openmoji"), "en").rows
    assert "settings" not in {row.key for row in other}


def test_a_base_that_was_trained_anew_is_said(tmp_path):
    """Beside runs that began from it before; not where the record names today's."""
    said = "emoji-32 is meant as it was before it was trained anew."
    shutil.copytree(SHIPPED / "emoji-openmoji", tmp_path / "s")
    assert said in study_table(StudyFolder(tmp_path / "s"), "en").tested
    today = json.loads((Path(bases.__file__).parent / "emoji-32" / "base.json").read_text())
    for path in (tmp_path / "s").rglob("run.json"):
        info = json.loads(path.read_text())
        if info.get("base"):
            path.write_text(json.dumps(info | {"base_commit": today["commit"]}))
    assert said not in study_table(StudyFolder(tmp_path / "s"), "en").tested
