"""One damaged record never stops the others: it is named in one line, and the rest goes on."""

import json
import shutil

import made_study
import pytest

from kurabe.cli import answer
from kurabe.errors import UserError
from kurabe.records import RunFolder, RunIndex
from kurabe.runs.names import find_run


def begun(path, started, **info):
    known = {"id": path.name, "method": "ddpm", "started": started, "images_seen": 64}
    return RunFolder(path).create("seed = 0\n", {**known, **info})


DAMAGE = {
    "half": lambda info: json.dumps(info)[:20],
    "empty": lambda info: "",
    "a list": lambda info: "[]",
    "deep": lambda info: "[" * 100_000,
    "not UTF-8": lambda info: json.dumps(info).encode() + b"\xff",
    "older": lambda info: json.dumps({**info, "schema": 0}),
    "no status": lambda info: json.dumps({k: v for k, v in info.items() if k != "status"}),
    "unknown status": lambda info: json.dumps({**info, "status": "done"}),
    "images a text": lambda info: json.dumps({**info, "images_seen": "many"}),
    "images not finite": lambda info: json.dumps({**info, "images_seen": float("inf")}),
    "images beyond 64 bits": lambda info: json.dumps({**info, "images_seen": 10**30}),
    "id a table": lambda info: json.dumps({**info, "id": {}}),
    "started a number": lambda info: json.dumps({**info, "started": 3}),
    "hardware a text": lambda info: json.dumps({**info, "hardware": "cpu"}),
    "shape of texts": lambda info: json.dumps({**info, "image_shape": ["8", "8", "1"]}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_runs_and_latest_go_on_beside_a_damaged_run(tmp_path, capsys, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    begun(tmp_path / "good", "2026-01-01T00:00:00+00:00")
    bad = begun(tmp_path / "bad", "2026-01-02T00:00:00+00:00")
    content = DAMAGE[damage](bad.info)
    bad.info_path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert answer(["runs"]) == 0
    out, error = capsys.readouterr()
    assert out.split()[0] == "good" and out.count("\n") == 1
    assert error.startswith("bad/run.json") and error.count("\n") == 1
    assert find_run("latest", tmp_path).path == tmp_path / "good"
    index = RunIndex(tmp_path)
    index.refresh()
    assert {run["status"] for run in index.runs()} == {"planned", "unreadable"}


BAD_SCORES = [
    "",
    "[1]",
    '{"metrics": []}',
    '{"metrics": {"kid": 1}}',
    '{"metrics": {"kid": {"value": "low"}}}',
    '{"metrics": {"kid": {"value": NaN}}}',
    '{"metrics": {"kid": {"value": 0.1, "references": {"floor": []}}}}',
    '{"metrics": {"kid": {"value": 0.1, "detail": 3}}}',
]


@pytest.mark.parametrize("content", BAD_SCORES)
def test_a_study_is_compared_beside_damaged_scores(tmp_path, capsys, content):
    folder = made_study.scans(tmp_path / "scans-study")
    bad = folder.run("scratch", 2)
    (bad.scores_path / "scores.json").write_text(content)
    assert answer(["compare", "--study", str(folder.path), "--lang", "en"]) == 0
    out, error = capsys.readouterr()
    assert "KID" in out
    assert error.startswith(f"{bad.scores_path / 'scores.json'}") and error.count("\n") == 1
    with pytest.raises(UserError, match=r"scores\.json"):
        bad.score("scores")


def test_a_study_is_compared_beside_runs_that_are_damaged_in_every_file(tmp_path, capsys):
    folder = made_study.scans(tmp_path / "scans-study")
    folder.run("scratch", 1).info_path.write_text("{")
    folder.run("scratch", 2).recipe_path.write_bytes(b"\xff = ")
    folder.run("scratch", 3).metrics_path.write_text("nonsense\n{}\n")
    shutil.rmtree(folder.run("scratch", 4).scores_path)
    assert answer(["compare", "--study", str(folder.path), "--lang", "en"]) == 0
    assert "block-1/run.json" in capsys.readouterr().err
