"""Runs as numbers: tables, trackers' files and PEFT's results, from a source to marks."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import kurabe
from kurabe.cli import answer
from kurabe.comparison import study_table
from kurabe.errors import UserError
from kurabe.outside.numbers import blocks_of
from kurabe.outside.trackers import read_runs
from kurabe.records import StudyFolder

SOURCES = Path(__file__).parents[1] / "outside_sources"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def table_of(text, name="runs.csv"):
    Path(name).write_text(text, encoding="utf-8")
    return name


def numbers(source, *words, out="study"):
    return answer(["numbers", source, "--out", out, "--lang", "en", *words]), StudyFolder(out)


def gap(n=5, between=3.0):
    """Two columns of n seeds, independent, whose means are so many standard deviations apart."""
    rng = np.random.default_rng(4)
    values = {"a": rng.normal(0.5, 0.01, n), "b": rng.normal(0.5 + 0.01 * between, 0.01, n)}
    rows = [f"{c},{k},{values[c][k]!r}" for c in values for k in range(n)]
    return values, "column,seed,score\n" + "\n".join(r.replace("np.float64(", "").rstrip(")")
                                                     for r in rows) + "\n"  # fmt: skip


def test_means_intervals_and_marks_are_scipys():
    values, text = gap(between=6.0)
    code, folder = numbers(table_of(text), "--metric", "score=up,0.001")
    assert code == 0
    row = study_table(folder, "en").row("score")
    for cell, own in zip(row.cells, values.values(), strict=True):
        assert cell.estimate.mean == pytest.approx(own.mean(), rel=1e-12)
        low, high = stats.t.interval(0.95, len(own) - 1, own.mean(), stats.sem(own))
        assert (cell.estimate.low, cell.estimate.high) == pytest.approx((low, high), rel=1e-9)
    paired = stats.ttest_rel(values["b"], values["a"]).pvalue
    welch = stats.ttest_ind(values["b"], values["a"], equal_var=False).pvalue
    assert min(paired, welch) < 1e-3
    assert row.mark == "≠"
    assert row.pairs[0].difference == pytest.approx((values["b"] - values["a"]).mean(), rel=1e-9)
    (said,) = study_table(folder, "en").sentences
    assert (said.mark, said.text) == ("≠", "b is ahead")


def test_the_public_image_table_of_peft_has_one_seed_and_no_mark_but_unclear():
    subprocess.run([sys.executable, str(SOURCES / "peft_results.py"), "results"], check=True)
    code, folder = numbers("results", "--metric", "test dino_similarity=up,0.02")
    assert code == 0
    table = study_table(folder, "en")
    row = table.row("test dino_similarity")
    assert len(row.cells) == 12
    assert row.values[[c.id for c in table.columns].index("lora-flux2-klein-rank64")] == 0.743
    # All 66 pairs: one seed tells nothing of a method.
    assert [pair.mark for pair in row.pairs] == ["?"] * 66
    (said,) = table.sentences
    assert said.mark == "?"
    assert "give each column the runs of 5 seeds" in said.detail


def test_long_wide_and_nested_tables_are_read_alike():
    wide = table_of("column,seed,kid,fid\na,0,.1,5\na,1,.2,6\n")
    long = table_of("method,seed,metric,value\na,0,kid,.1\na,0,fid,5\na,1,kid,.2\na,1,fid,6\n",
                    "long.csv")  # fmt: skip
    lines = [{"schema": 1, "column": "a", "seed": k, "metrics": {"kid": v, "fid": f}}
             for k, v, f in ((0, 0.1, 5), (1, 0.2, 6))]  # fmt: skip
    nested = table_of("\n".join(map(json.dumps, lines)), "runs.jsonl")
    whole = table_of(json.dumps({"runs": lines}), "runs.json")
    found = [{(r.column, r.seed): dict(r.values) for r in read_runs(source)}
             for source in (wide, long, nested, whole)]  # fmt: skip
    assert found == [{("a", 0): {"kid": 0.1, "fid": 5.0}, ("a", 1): {"kid": 0.2, "fid": 6.0}}] * 4


def mlflow_files(folder, runs):
    for number, (name, params, values, status) in enumerate(runs):
        run = Path(folder, "0", f"{number:032x}")
        for part, texts in (("params", params), ("metrics", values), ("tags", {})):
            (run / part).mkdir(parents=True)
            for key, text in texts.items():
                (run / part / key).write_text(str(text))
        (run / "meta.yaml").write_text(
            f"lifecycle_stage: active\nrun_id: {number:032x}\nrun_name: {name}\nstatus: {status}\n"
        )


def test_mlflows_file_store_gives_the_last_value_of_each_metric():
    mlflow_files("mlruns", [
        ("quick-fox", {"method": "lora", "seed": 3}, {"kid": "17 0.9 0\n18 0.5 1\n"}, 3),
        ("calm-owl", {"method": "lora", "seed": 4}, {"kid": "17 0.25 0\n"}, 3),
        ("dora-seed-3", {}, {"kid": "17 0.75 0\n"}, 3),
        ("dora-seed-4", {}, {"kid": "17 0.1 0\n"}, 4),
    ])  # fmt: skip
    found = blocks_of(read_runs("mlflow:mlruns"), "mlruns")
    assert {key: dict(run.values) for key, run in found.items()} == {
        ("lora", 1): {"kid": 0.5}, ("lora", 2): {"kid": 0.25},
        ("dora", 1): {"kid": 0.75}, ("dora", 2): {},
    }  # fmt: skip
    code, folder = numbers("mlflow:mlruns", "--metric", "kid=down")
    assert code == 0
    assert folder.run("dora", 2).status == "failed"
    assert folder.run("lora", 1).info["seed"] == 3


def test_sqlite_files_of_mlflow_and_trackio_and_the_export_of_wandb():
    base = sqlite3.connect("mlflow.db")
    base.executescript("""
        CREATE TABLE runs (run_uuid TEXT, name TEXT, status TEXT, lifecycle_stage TEXT);
        CREATE TABLE params (run_uuid TEXT, key TEXT, value TEXT);
        CREATE TABLE tags (run_uuid TEXT, key TEXT, value TEXT);
        CREATE TABLE latest_metrics (run_uuid TEXT, key TEXT, value REAL);
        INSERT INTO runs VALUES ('x', 'a-seed-1', 'FINISHED', 'active'),
                                ('y', 'gone', 'FINISHED', 'deleted');
        INSERT INTO latest_metrics VALUES ('x', 'kid', 0.5), ('y', 'kid', 9);
    """)
    base.commit()
    base = sqlite3.connect("project.db")
    base.executescript("""
        CREATE TABLE metrics (id INTEGER PRIMARY KEY, run_name TEXT, step INTEGER, metrics TEXT);
        CREATE TABLE configs (run_name TEXT, config TEXT);
        INSERT INTO metrics VALUES (1, 'r1', 0, '{"kid": 0.9}'), (2, 'r1', 1, '{"kid": 0.5}');
        INSERT INTO configs VALUES ('r1', '{"seed": 1, "method": "a"}');
    """)
    base.commit()
    table_of('"Name","State","Group","seed","kid"\n"x1","finished","a","1","0.5"\n', "wandb.csv")
    for source in ("mlflow:mlflow.db", "trackio:project.db", "wandb:wandb.csv"):
        (run,) = read_runs(source)
        assert (run.column, run.seed, run.values["kid"]) == ("a", 1, 0.5), source


def test_the_same_source_again_adds_what_is_new_and_replaces_nothing(capsys):
    source = table_of("column,seed,kid\na,0,.1\na,1,.2\nb,0,.3\nb,1,.4\n")
    assert numbers(source, "--metric", "kid=down,0.01")[0] == 0
    table_of("column,seed,kid\na,0,.1\na,1,.2\nb,0,.3\nb,1,.4\na,2,.1\nb,2,.3\n")
    code, folder = numbers(source)
    assert code == 0
    assert len(study_table(folder, "en").row("kid").cells[0].estimate.blocks) == 3
    table_of("column,seed,kid\na,0,.7\n")
    capsys.readouterr()
    assert numbers(source)[0] == 2
    assert "other values now" in capsys.readouterr().err
    table_of("column,seed,kid\na,0,.1\n")
    assert numbers(source, "--metric", "kid=down,0.5")[0] == 2
    assert "declared after a look" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words", "says"),
    [
        ("column,seed,kid\na,0,.1\n", (), 'which way is better: --metric "kid=up"'),
        ("column,seed,kid\na,0,.1\n", ("--metric", "kid"), "write it like --metric"),
        ("column,seed,kid\na,0,.1\n", ("--metric", "fid=up"), "no run has a metric 'fid'"),
        ("column,seed,kid\na,0,nan\n", ("--metric", "kid=up"), "is nan"),
        ("column,seed,kid\na,0,.1\na,0,.2\n", ("--metric", "kid=up"), "already"),
        ("column,seed,kid\na,0,.1\na,,.2\n", ("--metric", "kid=up"), "without a seed"),
        ("column,seed,kid\na,x,.1\n", ("--metric", "kid=up"), "the seed is x"),
        ("seed,kid\n0,.1\n", ("--metric", "kid=up"), "has no column"),
        ("column,seed,status,kid\na,0,running,.1\n", ("--metric", "kid=up"), "still running"),
        ("column,seed,kid\n", ("--metric", "kid=up"), "holds no runs"),
        ("column,seed,kid\na,0,.1\n", ("--metric", "kid=up", "--baseline", "c"), "none of the col"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(text, words, says, capsys):
    assert numbers(table_of(text), *words)[0] == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not Path("study").exists()


def test_a_run_of_mlflow_that_is_going_on_is_refused(capsys):
    mlflow_files("mlruns", [("a-seed-1", {}, {"kid": "1 0.5 0\n"}, 1)])
    assert numbers("mlflow:mlruns", "--metric", "kid=down")[0] == 2
    assert "still running" in capsys.readouterr().err


def test_a_training_script_reports_its_runs_and_they_come_to_a_table():
    for column, base in (("lora", 0.5), ("dora", 0.7)):
        for seed in range(3):
            kurabe.report("out/runs.jsonl", column, seed=seed, metrics={"kid": base + seed / 100})
    line = json.loads(Path("out/runs.jsonl").read_text("utf-8").splitlines()[0])
    assert line == {"schema": 1, "column": "lora", "seed": 0, "metrics": {"kid": 0.5}}
    code, folder = numbers("out/runs.jsonl", "--metric", "kid=down,0.01")
    assert code == 0
    assert study_table(folder, "en").row("kid").values == pytest.approx((0.51, 0.71), rel=1e-12)
    with pytest.raises(UserError, match="already"):
        kurabe.report("out/runs.jsonl", "lora", seed=0, metrics={"kid": 1.0})
    with pytest.raises(UserError, match="is nan"):
        kurabe.report("out/runs.jsonl", "lora", seed=9, metrics={"kid": float("nan")})


def test_a_report_goes_to_trackio_and_comes_back_as_it_was(monkeypatch):
    """By trackio itself, where it is installed; what it writes is read without it."""
    pytest.importorskip("trackio")
    script = (
        "import kurabe\n"
        "for seed in range(2):\n"
        "    for column, base in (('lora', 0.25), ('full', 0.5)):\n"
        "        kurabe.report('trackio:mine', column, seed=seed, metrics={'kid': base + seed})\n"
    )
    monkeypatch.setenv("TRACKIO_DIR", str(Path("tracked").resolve()))
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert done.stdout == b""
    runs = read_runs("trackio:tracked/mine.db")
    found = {(run.column, run.seed): run.values["kid"] for run in runs}
    assert found == {("lora", 0): 0.25, ("lora", 1): 1.25, ("full", 0): 0.5, ("full", 1): 1.5}


def test_a_report_goes_to_mlflow_and_comes_back_as_it_was(monkeypatch):
    """By MLflow itself, where it is installed; its store of files is read without it."""
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for seed, value in enumerate((0.25, 1.5)):
        kurabe.report("mlflow:runs", "lora", seed=seed, metrics={"kid": value}, method="lora")
    with pytest.raises(UserError, match="already"):
        kurabe.report("mlflow:runs", "lora", seed=0, metrics={"kid": 1.0})
    found = {(run.column, run.seed): run.values["kid"] for run in read_runs("mlflow:runs")}
    assert found == {("lora", 0): 0.25, ("lora", 1): 1.5}


@pytest.mark.parametrize("tracker", ["mlflow", "trackio"])
def test_a_tracker_that_is_not_there_is_said_and_nothing_is_written(monkeypatch, tracker):
    # As for a module that is not installed.
    monkeypatch.setitem(sys.modules, tracker, None)
    with pytest.raises(UserError, match=f"pip install {tracker}"):
        kurabe.report(f"{tracker}:here", "lora", seed=0, metrics={"kid": 1.0})
    with pytest.raises(UserError, match="behind the colon"):
        kurabe.report(f"{tracker}:", "lora", seed=0, metrics={"kid": 1.0})
    with pytest.raises(UserError, match="is nan"):
        kurabe.report(f"{tracker}:here", "lora", seed=0, metrics={"kid": float("nan")})
    assert list(Path().iterdir()) == []
