"""What is said of a table is true of it: studies with given scores in which a careless sentence
would not be."""

import math

import numpy as np
import pytest
from made_study import COLUMNS, around, study

from kurabe.comparison import draw_html, study_table
from kurabe.records import StudyFolder
from kurabe.records.study import SHIPPED
from kurabe.words.table import joined

NAMES = {
    "transfer": "transfer learning with diffusion models",
    "self-supervised": "self-supervised diffusion model",
    "scratch": "DDPM (from scratch)",
}


def of(path, metrics, lang="en", baseline="scratch"):
    columns = {key: COLUMNS[key] for key in next(iter(metrics.values()))}
    return study_table(study(path, metrics, columns, baseline=baseline), lang)


def said(table, key):
    return next(sentence for sentence in table.sentences if sentence.key == key)


def marks(table, row):
    return {frozenset((p.first, p.second)): p.mark for p in table.row(row).pairs}


def test_headline_rows_that_tell_a_pair_are_not_said_to_fail(tmp_path):
    """Recall by itself gives p < .05; among the rows behind the open gate that may be chance."""
    metrics = {
        "kid": {"transfer": around(0.1, 0.01, 1), "scratch": around(0.5, 0.01, 2)},
        "recall": {"transfer": around(0.565, 0.03, 5), "scratch": around(0.5, 0.03, 6)},
    }
    for seed, row in enumerate(("density", "diversity", "alignment", "uniformity"), start=10):
        metrics[row] = {c: around(1.0, 0.2, 2 * seed + i) for i, c in enumerate(metrics["kid"])}
    for lang, note in (
        ("en", "some pairs differ by this row alone, but among so many rows that may be chance"),
        ("ja", "この行だけを見れば差のある組も、表全体の補正では偶然と区別できない"),
    ):
        table = of(tmp_path / lang, metrics, lang)
        assert (table.row("kid").mark, table.row("recall").mark) == ("≠", "?")
        assert table.row("recall").pairs[0].gated
        assert table.row("recall").note == note


@pytest.mark.parametrize("name", ["emoji-openmoji", "fashion-animals", "fashion-unlabelled"])
def test_no_row_of_a_shipped_study_blames_headline_rows_that_do_tell(name):
    table = study_table(StudyFolder(SHIPPED / name), "en")
    heads = [row for row in table.rows if row.headline]
    told = {(p.first, p.second) for row in heads for p in row.pairs if p.mark == "≠"}
    for row in table.rows:
        if "cannot tell" in (row.note or ""):
            assert not any(p.gated and (p.first, p.second) in told for p in row.pairs), row.key


def test_every_look_that_made_marks_is_named(tmp_path):
    apart = {"transfer": around(0.1, 0.01, 1, 7), "scratch": around(0.5, 0.01, 2, 7)}
    alike = {"transfer": around(0.5, 0.1, 3, 7), "scratch": around(0.5, 0.1, 4, 7)}
    metrics = {"kid": apart, "own-view-recall": alike}
    table = of(tmp_path / "en", metrics)
    assert [table.row(key).pairs[0].look for key in metrics] == [5, 7]
    assert table.looks.startswith(
        "Marks were made after 5 and 7 blocks, as planned. "
        "The next looks are after 10, 15 and 20 blocks."
    )
    japanese = of(tmp_path / "ja", metrics, "ja")
    assert japanese.looks.startswith("判定は、計画どおり 5と7 ブロックの時点で行いました。")


def test_one_look_that_is_left_is_the_last(tmp_path):
    columns = ("transfer", "scratch")
    table = of(tmp_path / "s", {"kid": {c: around(0.5, 0.1, i, 15) for i, c in enumerate(columns)}})
    assert "after 5, 7, 10 and 15 blocks, as planned. The last look is after 20" in table.looks


def test_strictness_is_said_of_the_look_that_it_was_of(tmp_path):
    """One value in five far out; then two more that lie in the middle."""
    wide, narrow = [0.0, 1.0, 2.1, 3.3, 90.0, 20.0, 12.0], [5.0, 5.1, 5.25, 5.3, 5.42, 5.2, 5.15]
    rows = ("kid", "density", "diversity", "alignment", "uniformity")
    metrics = {row: {"transfer": wide, "scratch": narrow} for row in rows}
    five = {row: {c: of[:5] for c, of in of.items()} for row, of in metrics.items()}
    once, twice = of(tmp_path / "5", five), of(tmp_path / "7", metrics)
    [_, by] = once.looks.split("by up to ")
    assert float(by.rstrip(".").replace(",", "")) > 2
    assert f"divided by up to {by.rstrip('.')} after 5 blocks and " in twice.looks
    assert twice.looks.endswith(" after 7 blocks.")


def test_only_what_holds_of_every_two_is_said_of_all(tmp_path):
    """The leader is uncertain; the other two are not, and differ from one another."""
    recall = {
        "transfer": around(0.80, 0.15, 1),
        "self-supervised": around(0.79, 0.002, 2),
        "scratch": around(0.60, 0.002, 3),
    }
    table = of(tmp_path / "en", {"own-view-recall": recall}, baseline="self-supervised")
    assert marks(table, "own-view-recall") == {
        frozenset(("transfer", "self-supervised")): "?",
        frozenset(("transfer", "scratch")): "?",
        frozenset(("self-supervised", "scratch")): "≠",
    }
    others = joined([NAMES["self-supervised"], NAMES["scratch"]], "en")
    assert said(table, "features").text == f"cannot tell {NAMES['transfer']} from {others}"
    japanese = of(tmp_path / "ja", {"own-view-recall": recall}, "ja", "self-supervised")
    assert said(japanese, "features").text.endswith("との優劣は判定保留")


def test_what_equals_the_leader_need_not_equal_one_another(tmp_path):
    """The two behind go up and down against one another: their difference varies twice as much."""
    noise = np.array(around(0.0, 0.013, 4))
    recall = {
        "transfer": around(0.803, 0.0005, 1),
        "self-supervised": (0.802 + noise).tolist(),
        "scratch": (0.801 - noise).tolist(),
    }
    table = of(tmp_path / "s", {"own-view-recall": recall})
    found = marks(table, "own-view-recall")
    assert found.pop(frozenset(("self-supervised", "scratch"))) == "?"
    assert set(found.values()) == {"≈"}
    others = joined([NAMES["self-supervised"], NAMES["scratch"]], "en")
    text = f"{others} are practically equal to {NAMES['transfer']}"
    assert said(table, "features").text == text


def test_a_block_that_a_column_lost_makes_it_no_leader(tmp_path):
    """In each block that both have the second is better by .05; its fifth is everyone's worst."""
    first = [0.80, 0.70, 0.90, 0.81, None]
    second = [0.85, 0.752, 0.949, 0.86, 0.40]
    metrics = {"own-view-recall": {"transfer": first, "scratch": second}}
    # Rows of no skewness, without which one bad block in ten values would make the table strict.
    for seed, row in enumerate(("kid", "density", "diversity", "alignment"), start=10):
        metrics[row] = {"transfer": around(1, 0.2, seed), "scratch": around(1, 0.2, 90 + seed)}
    assert np.mean(first[:4]) > np.mean(second)
    table = of(tmp_path / "s", metrics)
    assert marks(table, "own-view-recall") == {frozenset(("transfer", "scratch")): "≠"}
    assert said(table, "features").text == f"{NAMES['scratch']} is ahead"


def test_pairs_that_were_never_tested_say_why(tmp_path):
    kid = {"transfer": [0.1, 0.2, None, None, None], "scratch": around(0.3, 0.1, 2)}
    lost = said(of(tmp_path / "lost", {"kid": kid}), "images")
    assert (lost.mark, lost.detail) == ("?", "fewer than 3 blocks have both values")
    assert lost.command and "--seeds" not in lost.command
    same = {c: [0.1, 0.3, 0.2, 0.5, 0.4] for c in kid}
    table = of(tmp_path / "same", {"kid": same})
    assert said(table, "images").detail == (
        "the difference never varies from block to block, so there is nothing to test"
    )
    assert said(table, "images").command is None
    assert "not tested: too few blocks have both values yet" in draw_html(table)


def test_blocks_that_wait_for_the_next_look_are_not_asked_for_again(tmp_path):
    """The look at fifteen would settle it; the sixth block is there already."""
    five = {"transfer": around(0.8, 0.05, 1), "scratch": around(0.755, 0.05, 2)}
    six = {column: [*values, math.fsum(values) / 5] for column, values in five.items()}
    for values, more in ((five, 10), (six, 9)):
        table = of(tmp_path / f"{more}", {"own-view-recall": values})
        [pair] = table.row("own-view-recall").pairs
        assert (pair.look, pair.blocks_needed) == (5, 15)
        answer = said(table, "features")
        assert answer.detail.startswith(f"{more} more blocks (")
        assert answer.command.endswith("--seeds 15")
    assert "the planned look after 15 blocks is expected to see a gap of" in draw_html(table)
