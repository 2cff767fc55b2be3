"""The plan as a person reads it, the words it is made of, and the times it promises."""

import json
import re
import shutil
import string
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from kurabe import words
from kurabe.cli import answer
from kurabe.errors import UserError
from kurabe.execution.engine import Engine
from kurabe.recipe import Recipe
from kurabe.records import StudyFolder
from kurabe.runs.images import known_by, load_images, split_images
from kurabe.studies.begin import Request, begin
from kurabe.studies.carry_out import carry_out
from kurabe.studies.jobs import block_jobs
from kurabe.studies.plan import about_images
from kurabe.studies.progress import Clock, plain
from kurabe.studies.state import StudyState
from kurabe.studies.study import Study
from kurabe.words import commands, data, pages, table
from kurabe.words.commands import say

TWO = ("self-supervised-diffusion-model", "ddpm")


@pytest.fixture
def scans(tmp_path, monkeypatch) -> Path:
    """A folder of 40 drawings, a copy of one and a page of HTML; speeds are known already."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("kurabe.bases.available", lambda: ())
    monkeypatch.setattr("kurabe.execution.local.cores", lambda: 2)
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=3_000_000_000))
    folder = tmp_path / "scans"
    folder.mkdir()
    for k in range(40):
        small = np.random.default_rng(k).integers(0, 256, (4, 4, 3), np.uint8)
        side = 40 + k
        Image.fromarray(small).resize((side, side), 0).save(folder / f"{k:02d}.png")
    (folder / "copy.png").write_bytes((folder / "07.png").read_bytes())
    (folder / "page.png").write_text("<html></html>")
    state = StudyState(rates=dict.fromkeys(TWO, 100.0))
    (tmp_path / "scans-study").mkdir()
    state.write(tmp_path / "scans-study" / "study.json")
    return folder


def test_the_plan_in_five_lines(scans, capsys):
    assert answer(["study", "scans", "--dry-run", "--lang", "en"]) == 0
    lines = [re.split(r"\s{2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["scans", "42 files: 40 kept, 1 duplicate, 1 unreadable", "kurabe data check scans"],
        ["images", "40–79 px, colour → 32×32, centre crop", "--size 64 for larger"],
        ["split", "25 train · 6 validation · 9 test, new draw per block"],
        ["base", "none: every method starts from scratch", "--base"],
        # 10 runs of 60 s, 12 s and 128 · 20 / (3 · 100) s of sampling, and 2 · 4 trials of 15 s
        # and 5 s, on 2 workers: 483 s.
        ["plan", "2 methods × 5 blocks × 60 s + 6 to 10 learning-rate trials",
         "≈ 8 min on 2 cores",
         "Ctrl-C is safe: the same command continues"],
        ["disk", "about 40 MB of 3.0 GB free"],
        ["written to", "scans-study/study.toml (--dry-run: nothing was started)"],
    ]  # fmt: skip
    assert not (scans.parent / "scans-study" / "runs").exists()


def test_a_study_that_has_no_room_is_refused_before_anything_runs(scans, capsys):
    """Two columns, five runs and up to five trials each: twenty times 4 MB of weights and 2 MB of
    records, and on two workers ten copies of a state each: 200 MB."""
    path = scans.parent / "scans-study" / "study.json"
    state = StudyState.read(path)
    state.kept_bytes = dict.fromkeys(TWO, 4_000_000)
    state.write(path)
    for free, code in ((200_500_000, 0), (199_500_000, 2)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("shutil.disk_usage", lambda place, free=free: SimpleNamespace(free=free))
            assert answer(["study", "scans", "--dry-run", "--lang", "en"]) == code
    said = capsys.readouterr()
    assert "disk           about 200 MB of 200 MB free" in said.out
    assert said.err == (
        "scans-study needs about 200 MB and 200 MB are free; make room, or give a place on another "
        "disk with --out.\n"
    )
    assert not (scans.parent / "scans-study" / "runs").exists()


def test_the_plan_in_japanese(scans, capsys):
    assert (
        answer(["study", "scans", "--dry-run", "--lang", "ja", "--grey", "--budget", "2min"]) == 0
    )
    out = capsys.readouterr().out
    assert "42 ファイル: 40 枚を使用, 重複 1, 読めないもの 1" in out
    assert "グレースケール → 32×32" in out
    # 10 runs of 120 s and 20.5 s, 2 · 4 trials of 30 s and 5 s, on 2 workers: 843 s.
    assert "2 手法 × 5 ブロック × 2 分 + 学習率の試行 6–10 回  ≈ 14 分（2 コア）" in out


def test_the_plan_says_which_method_overrules_an_edited_optimiser(scans, capsys):
    """Contrast declares batches of 64; what [optimiser] says holds for the others."""
    request = ["study", "scans", "--dry-run", "--lang", "en"]
    assert answer(request) == 0
    path = Path("scans-study/study.toml")
    column = '\n[[columns]]\nid = "contrast"\nmethod = "contrastive-diffusion"\n'
    path.write_text(path.read_text().replace("batch = 32", "batch = 16", 1) + column)
    state = StudyState.read(path.with_name("study.json"))
    state.rates["contrast"] = 100.0
    state.write(path.with_name("study.json"))
    capsys.readouterr()
    assert answer(request) == 0
    own = [line for line in capsys.readouterr().out.splitlines() if "its own" in line]
    assert [re.split(r"\s{2,}", line.strip()) for line in own] == [
        ["its own", "Contrastive diffusion: batch 64", "[columns.overrides.optimiser]"]
    ]
    path.write_text(path.read_text() + "\n[columns.overrides.optimiser]\nbatch = 16\n")
    assert answer(request) == 0
    assert "its own" not in capsys.readouterr().out


def test_the_same_command_keeps_the_edited_file(scans):
    assert answer(["study", "scans", "--dry-run"]) == 0
    path = Path("scans-study/study.toml")
    path.write_text(path.read_text().replace("blocks = 5", "blocks = 4"))
    assert answer(["study", "scans", "--dry-run", "--seeds", "6"]) == 0
    # No run has begun, so six are planned, not added.
    study = Study.from_toml(path)
    assert (study.blocks, study.added_blocks) == (6, 0)


@pytest.mark.parametrize(("seeds", "way"), [(6, "--seeds 7"), (11, "--seeds 15"), (25, "--out")])
def test_seeds_between_and_beyond_planned_looks_are_refused(scans, capsys, seeds, way):
    study, state, folder = begin(Request("scans"))
    begun(folder, study, state)
    before = folder.study_path.read_text()
    assert answer(["study", "scans", "--seeds", str(seeds), "--yes"]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"--seeds {seeds}: ")
    assert "after 5, 7, 10, 15 and 20 blocks" in said
    assert way in said
    assert "\n" not in said
    assert folder.study_path.read_text() == before


@pytest.mark.parametrize(("seeds", "first"), [(1, 5), (2, 5), (3, None), (4, None), (5, None)])
def test_a_plan_below_the_first_look_says_that_there_will_be_no_marks(scans, capsys, seeds, first):
    assert answer(["study", "scans", "--seeds", str(seeds), "--dry-run", "--lang", "en"]) == 0
    lines = capsys.readouterr().out.splitlines()
    said = [re.split(r"\s{2,}", line.strip()) for line in lines if "marks" in line]
    wanted = ["marks", f"from {first} blocks on; a table of {seeds} has neither ≠ nor ≈"]
    assert said == ([] if first is None else [[*wanted, f"--seeds {first}"]])


def test_looks_that_were_written_down_are_kept(scans, capsys):
    assert answer(["study", "scans", "--dry-run"]) == 0
    path = Path("scans-study/study.toml")
    text = path.read_text()
    path.write_text(text.replace("blocks = 5", "blocks = 4\nlooks = [4, 8]", 1))
    assert Study.from_toml(path).planned == (4, 8)
    assert answer(["study", "scans", "--dry-run", "--seeds", "8"]) == 0
    assert Study.from_toml(path).blocks == 8
    capsys.readouterr()
    assert answer(["study", "scans", "--dry-run", "--seeds", "5"]) == 2
    assert "give --seeds 8" in capsys.readouterr().err
    for wrong, said in (("[2, 8]", "looks"), ("[8, 4]", "looks"), ("[3, 9]", "blocks = 4")):
        path.write_text(text.replace("blocks = 5", f"blocks = 4\nlooks = {wrong}", 1))
        assert answer(["study", "scans", "--dry-run"]) == 2
        assert said in capsys.readouterr().err


def test_blocks_and_columns_that_come_later_are_flagged(scans):
    study, state, folder = begin(Request("scans"))
    study.save(folder.study_path)
    block_jobs(study, state, folder)
    study, state, _ = begin(Request("scans", seeds=7, add=("ddae",)))
    assert (study.blocks, study.added_blocks) == (5, 2)
    assert state.added_columns == ["ddae"]
    state.add_rates({"ddae": 100.0}, "these settings")
    jobs = block_jobs(study, state, folder)
    added = {(j.column.id, j.block) for j in jobs if j.folder.info["added"]}
    assert added == {(c, b) for c in (*TWO, "ddae") for b in (6, 7)} | {
        ("ddae", b) for b in range(1, 6)
    }
    with pytest.raises(UserError, match="never taken away"):
        begin(Request("scans", seeds=3))


def test_settings_that_changed_after_a_run_began_are_refused(scans):
    study, state, folder = begin(Request("scans"))
    block_jobs(study, state, folder)
    changed = study.changed(optimiser={"lr": 0.25})
    with pytest.raises(UserError, match=r"optimiser\.lr = 0\.001"):
        block_jobs(changed, state, folder)
    with pytest.raises(UserError, match="--budget"):
        study.save(folder.study_path)
        begin(Request("scans", budget="9min"))


def test_the_clock_shares_what_is_left_among_the_workers(scans):
    study, state, folder = begin(Request("scans", seeds=3))
    jobs = block_jobs(study, state, folder)
    clock = Clock(state.rates, workers=2, guess=25)
    assert clock.left(jobs, []) == pytest.approx(6 * (60 + 25) / 2)
    for job in jobs[:2]:
        job.folder.update(status="finished", seconds=60.0, beside_seconds=5.0)
        clock.learn(job)
    assert clock.left(jobs[2:], []) == pytest.approx(4 * (60 + 5) / 2)
    # While learning rates are tried, the runs that come later count too.
    trying = Clock(state.rates, workers=2, guess=25, later=300)
    assert trying.left(jobs[2:], []) == pytest.approx(4 * (60 + 25) / 2 + 300)


@pytest.mark.parametrize("place", [commands, data, pages, table])
def test_every_sentence_stands_in_every_language_with_the_same_places(place):
    for key, texts in place._WORDS.items():
        assert len(texts) == len(words.LANGUAGES), key
        counted = [words.counted(text, defaultdict(int)) for text in texts]
        first, *others = ({n for _, n, _, _ in string.Formatter().parse(t) if n} for t in counted)
        assert all(other == first for other in others), key


def test_the_spread_of_runs_is_no_noise():
    for key, texts in commands._WORDS.items():
        assert "ノイズ" not in texts[0] or key == "samples.note", key


@pytest.mark.parametrize(
    ("locale", "language"), [("ja_JP.UTF-8", "ja"), ("en_GB.UTF-8", "en"), ("C", "en")]
)
def test_the_language_follows_the_locale(monkeypatch, locale, language):
    monkeypatch.setenv("LC_ALL", locale)
    assert words.language() == language
    assert words.language("ja") == "ja"


def test_numbers_as_the_progress_line_writes_them():
    assert [plain(v) for v in (0.0312, 0.5, 1.0, 12.3456)] == [".031", ".500", "1.00", "12.35"]
    assert [commands.duration(s, "en") for s in (0.2, 42, 89, 91, 3600, 9000)] == [
        "1 s", "42 s", "89 s", "2 min", "60 min", "2.5 h",
    ]  # fmt: skip
    assert commands.aligned([("転移", "a"), ("x", "b")]) == ["転移  a", "x     b"]


def test_facts_need_no_torch(tmp_path):
    """import kurabe, the catalogue and compare leave torch alone, with a study too."""
    code = (
        "import sys, kurabe; from kurabe.cli import answer; "
        "assert [answer(a) for a in (['methods'], ['compare'], ['data', 'list'], ['--help'])]"
        " == [0] * 4; kurabe.compare('lora', 'ddpm'); "
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "False\n"


def test_compare_takes_a_studys_name(scans, capsys):
    study, _, folder = begin(Request("scans"))
    study.save(folder.study_path)
    for name in ("scans", "scans-study", str(StudyFolder("scans-study").path.resolve())):
        assert answer(["compare", "--study", name, "--format", "json", "--lang", "en"]) == 0
        columns = json.loads(capsys.readouterr().out)["columns"]
        assert [column["id"] for column in columns] == list(TWO)


def test_a_short_run_is_measured_every_fifteen_seconds_and_no_run_more_than_ten_times(scans):
    for budget, share in {
        "10s": 0.5,
        "45s": 1 / 3,
        None: 0.25,
        "10min": 0.1,
        "5000img": 0.1,
    }.items():
        study, _, _ = begin(Request("scans", budget=budget))
        assert study.optimiser.held_out_share == pytest.approx(share)


def begun(folder: StudyFolder, study: Study, state: StudyState) -> None:
    """One run of the study has been begun on the images that lie there now."""
    study.save(folder.study_path)
    job = block_jobs(study, state, folder)[0]
    job.folder.update(**known_by(load_images(study.data)))


def test_images_that_changed_after_a_run_began_are_refused(scans):
    begun_study, state, folder = begin(Request("scans"))
    begun(folder, begun_study, state)
    assert answer(["study", "scans", "--dry-run"]) == 0
    Image.fromarray(np.full((50, 50, 3), 9, np.uint8)).save(scans / "new.png")
    with pytest.raises(UserError, match="scans holds other images now than when scans-study"):
        carry_out(Request("scans"), "en", dry_run=True)


def test_another_folder_of_the_same_name_is_not_taken_for_the_first(scans):
    study, _, folder = begin(Request("scans"))
    study.save(folder.study_path)
    shutil.copytree(scans, scans.parent / "2024" / "scans")
    with pytest.raises(UserError, match=r"scans-study is a study of scans, not of 2024/scans"):
        begin(Request("2024/scans"))
    assert begin(Request(str(scans)))[0] == begin(Request("scans-study"))[0] == study


def test_a_look_at_the_price_changes_no_study_that_has_begun(scans, capsys):
    study, state, folder = begin(Request("scans"))
    begun(folder, study, state)
    before = folder.study_path.read_text()
    assert answer(["study", "scans", "--seeds", "20", "--dry-run", "--lang", "en"]) == 0
    assert "20 blocks" in capsys.readouterr().out
    assert folder.study_path.read_text() == before


def test_speeds_hold_for_the_settings_they_were_measured_with(scans, monkeypatch):
    study, state, folder = begin(Request("scans"))
    state.speeds_of = study.speed_key
    state.write(folder.state_path)
    measured = []

    def calibrated(study: Study, state: StudyState, engine: Engine) -> dict[str, float]:
        measured.append(study.network.width)
        return dict.fromkeys(TWO, 50.0)

    monkeypatch.setattr("kurabe.studies.calibration.calibrate", calibrated)
    carry_out(Request("scans"), "en", dry_run=True, show=lambda text: None)
    study.changed(network={"width": 384}).save(folder.study_path)
    carry_out(Request("scans"), "en", dry_run=True, show=lambda text: None)
    assert measured == [384]


def test_images_that_moved_go_on_where_they_are_named_anew(scans, monkeypatch):
    begun_study, state, folder = begin(Request("scans"))
    begun(folder, begun_study, state)
    moved = scans.rename(scans.parent / "elsewhere")
    study, _, _ = begin(Request(str(moved), out=Path("scans-study")))
    assert study.data.source == str(moved)
    run = block_jobs(study, state, folder)[0].folder
    assert Recipe.from_toml(run.recipe_path).data.source == str(moved)
    assert (
        Recipe.from_toml(run.recipe_path).digest
        == begun_study.recipe(study.columns[0], 1, state).digest
    )
    shutil.copytree(moved, scans)
    Image.fromarray(np.full((50, 50, 3), 9, np.uint8)).save(scans / "new.png")
    with pytest.raises(UserError, match="holds other images now"):
        carry_out(Request("scans"), "en", dry_run=True)


def test_a_study_means_the_same_images_from_another_working_folder(scans, monkeypatch):
    study, _, folder = begin(Request("scans"))
    study.save(folder.study_path)
    (scans.parent / "away").mkdir()
    monkeypatch.chdir(scans.parent / "away")
    assert load_images(begin(Request("../scans-study"))[0].data).digest == (
        load_images(study.data).digest
    )
    Path("../own.toml").write_text(
        study.changed(data={"source": "scans"}).to_toml(), encoding="utf-8"
    )
    assert begin(Request("../own.toml"))[0].data.source == str(scans)


def test_labels_that_changed_after_a_run_began_are_refused(scans):
    names = sorted(p.name for p in scans.iterdir() if p.suffix == ".png")
    table = scans / "labels.csv"
    table.write_text("".join(f"{n},{'ab'[i % 2]}\n" for i, n in enumerate(names)))
    begun_study, state, folder = begin(Request("scans"))
    begun(folder, begun_study, state)
    table.write_text("".join(f"{n},{'abc'[i % 3]}\n" for i, n in enumerate(names)))
    with pytest.raises(UserError, match="have other labels now than when scans-study"):
        carry_out(Request("scans"), "en", dry_run=True)
    # More blocks than were planned weigh less than other labels.
    with pytest.raises(UserError, match="have other labels now than when scans-study"):
        carry_out(Request("scans", seeds=2), "en", dry_run=True)
    table.write_text("".join(f"{n},{'ab'[i % 2]}\n" for i, n in enumerate(names)))
    with pytest.raises(UserError, match="has 5 blocks already"):
        carry_out(Request("scans", seeds=2), "en", dry_run=True)


def test_the_plan_says_what_labels_were_taken_for_as_data_check_does(scans):
    names = sorted(p.name for p in scans.iterdir() if p.suffix == ".png")
    rows = "".join(f"{n},{'ab'[i % 2]}\n" for i, n in enumerate(names))
    (scans / "labels.csv").write_text(f"file,label\n{rows}nowhere.png,a\n")
    study, _, _ = begin(Request("scans"))
    images = load_images(study.data)
    split = split_images(images, study.tested, study.first_seed)
    for lang in ("en", "ja"):
        told = images.report.told(lang)
        assert any("labels.csv" in note for note in told)
        said = "\n".join(about_images(study, images, split, lang))
        assert all(note in said for note in told)


def test_where_the_images_were_moved_what_to_type_is_said(scans):
    study, state, folder = begin(Request("scans"))
    study.save(folder.study_path)
    begun(folder, study, state)
    scans.rename(scans.parent / "elsewhere")
    with pytest.raises(UserError, match="kurabe study FOLDER --out scans-study") as refused:
        begin(Request("scans-study"))
    assert str(refused.value).startswith("scans is not there")
    assert begin(Request("elsewhere", out=Path("scans-study")))[0].data.source.endswith("elsewhere")


@pytest.mark.parametrize(
    ("key", "values", "one", "many"),
    [("images", {"n": "1"}, "1 image", "2 images"),
     ("plan.duplicate", {"n": 1}, "1 duplicate", "2 duplicates"),
     ("done.samples", {"n": 1, "path": "x"}, "1 image drawn into x", "2 images drawn into x")],
)  # fmt: skip
def test_one_is_singular(key, values, one, many):
    assert say(key, "en", **values) == one
    assert say(key, "en", **values | {"n": 2}) == many


def test_a_study_among_its_images_adds_none(scans, monkeypatch):
    monkeypatch.chdir(scans)
    study, state, folder = begin(Request("."))
    before = load_images(study.data).digest
    begun(folder, study, state)
    state.write(folder.state_path)
    run = next(iter(folder.runs().values()))
    for k in range(3):
        Image.fromarray(np.full((50, 50, 3), 7 * k, np.uint8)).save(run.samples / f"{k}.png")
    assert load_images(study.data).digest == before
    with pytest.raises(UserError, match="the folder of a run or a study"):
        load_images(study.data.model_copy(update={"source": str(run.samples)}))
