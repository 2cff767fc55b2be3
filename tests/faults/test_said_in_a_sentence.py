"""What the system refuses is said in a sentence, by real commands in real processes."""

import errno
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kurabe.cli import answer
from kurabe.comparison import read_results
from kurabe.errors import RunFailed, UserError, refusal, sentence
from kurabe.files import (
    check_place,
    folder_for_now,
    json_bytes,
    write_bytes_atomic,
    write_text_atomic,
)
from kurabe.recipe import Budget, Recipe, read_toml
from kurabe.records import SHIPPED, RunFolder, StudyFolder
from kurabe.records.lock import FolderBusy, is_held, writing
from kurabe.studies.study import parse_budget


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))


def shell(line, **environment):
    command = line.replace("kurabe", f"{sys.executable} -m kurabe")
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("kurabe methods | head -1; exit ${PIPESTATUS[0]}", 0),
        ("kurabe methods >&-", 0),
        ("kurabe compare --format json >&-", 0),
        ("kurabe methods lorra 2>&-", 2),
        ("kurabe methods > /dev/full", 2),
        ("kurabe methods lorra 2> /dev/full", 2),
    ],
)
def test_a_closed_or_full_stream_is_no_traceback(line, code):
    done = shell(line)
    assert done.returncode == code
    assert done.stderr.count(b"\n") == (code == 2 and "2>" not in line)
    assert b"Error" not in done.stderr and b"Exception" not in done.stderr


def test_a_file_where_a_folder_is_meant_and_the_other_way(tmp_path, capsys):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    for command in (
        ["sample", "emoji-32", "-n", "1", "--out", "file"],
        ["sample", "emoji-32", "-n", "1", "--out", "file/below"],
        ["embed", "emoji-32", "--data", "digits", "--out", "folder"],
        ["embed", "emoji-32", "--data", "digits", "--out", "file/below/e.parquet"],
        ["study", "digits", "--out", "file", "--yes"],
        ["fit", "ddpm", "--data", "digits", "--out", "file", "--size", "8"],
        ["study", "digits", "--out", "x" * 300, "--yes"],
    ):
        assert answer(command) == 2, command
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and error.endswith(".\n"), error
        assert "file" in error or "folder" in error or "x" * 100 in error
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "file", "folder"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, UserError), (errno.EROFS, UserError), (errno.ENAMETOOLONG, UserError),
        (errno.EISDIR, UserError), (errno.EMFILE, RunFailed), (errno.EIO, RunFailed),
        (errno.EINTR, RunFailed),
    ],
)  # fmt: skip
def test_a_refusal_names_the_file_and_never_a_terminals_commands(number, kind):
    said = refusal(OSError(number, os.strerror(number), "a\x1b[31m\n\udc8e.png"))
    assert type(said) is kind
    assert "a\\x1b[31m\\n\\udc8e.png" in str(said) and str(said).isprintable()


def test_memory_that_is_not_there_is_said_as_such():
    asked = RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate "
                         "memory: you tried to allocate 4000 bytes.")  # fmt: skip
    assert sentence(asked).startswith("There is not enough memory for this")


def test_an_error_in_writing_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / ("a" * 250 + ".json")
    write_bytes_atomic(path, b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as error:
        write_bytes_atomic(path, b"new")
    assert error.value.filename == str(path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_names_that_are_not_utf8_stay_what_they_are_in_json_and_are_refused_in_toml(tmp_path):
    name = os.fsdecode(b"\x8e\x9f.png")
    assert json.loads(json_bytes({"name": name, "写": "–"})) == {"name": name, "写": "–"}
    assert "写".encode() in json_bytes({"写": 1})
    with pytest.raises(UserError, match=r"cannot hold the name in source = \\udc8e"):
        write_text_atomic(tmp_path / "study.toml", f"x = 1\nsource = {name}")


def test_a_toml_file_with_a_bom_is_read_and_other_damage_is_named(tmp_path):
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbfx = 1\r\n")
    assert read_toml(path) == {"x": 1}
    for content in (b"x = '\xff'", b"x = " + b"9" * 5000, b"x = " + b"[" * 5000):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.toml"):
            read_toml(path)


@pytest.mark.parametrize("text", ["1e400s", "9" * 400 + "h", "nans", "infs", "9" * 30 + "kimg"])
def test_budgets_beyond_what_a_machine_holds(text):
    with pytest.raises(UserError, match="budget"):
        parse_budget(text)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e10])
def test_settings_are_finite(value):
    with pytest.raises(ValueError, match="seconds"):
        Budget(seconds=value)


@pytest.mark.parametrize(
    "arguments",
    [
        ("study", "digits", "--seeds", str(10**30)),
        ("study", "digits", "--size", "99999999999"),
        ("fit", "ddpm", "--data", "digits", "--seed", str(10**30)),
        ("fit", "ddpm", "--data", "digits", "--set", f"optimiser.batch={10**30}"),
        ("fit", "ddpm", "--data", "digits", "--set", "optimiser.lr=inf"),
        ("fit", "ddpm", "--data", "digits", "--set", "network.width=" + "9" * 5000),
        ("sample", "emoji-32", "--out", "d", "-n", str(10**30)),
        ("sample", "emoji-32", "--out", "d", "--seed", str(2**70)),
        ("sample", "emoji-32", "--out", "d", "--steps", str(10**30)),
        ("embed", "emoji-32", "--data", "digits", "--out", "e", "--draws", str(10**30)),
        ("embed", "emoji-32", "--data", "digits", "--out", "e", "--log-snr", "nan"),
        ("embed", "emoji-32", "--data", "digits", "--out", "e", "--grid", str(10**30)),
    ],
)
def test_numbers_beyond_what_a_machine_holds(capsys, arguments):
    assert answer(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Kurabe failed" not in error
    assert len(error) < 500


def test_a_lock_that_is_only_looked_at_is_no_writer(tmp_path):
    held = tmp_path / ".lock"
    with writing(held):
        assert is_held(held)
        with pytest.raises(FolderBusy, match="another process"), writing(held):
            pass
    assert not is_held(held)


def test_places_are_checked_before_the_work(tmp_path):
    check_place(tmp_path / "new" / "below", folder=True)
    check_place(tmp_path / "new.parquet", folder=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a folder is meant"):
        check_place(tmp_path / "file", folder=True)
    with pytest.raises(UserError, match="not a folder"):
        check_place(tmp_path / "file" / "x", folder=False)


def drawings(folder, count):
    folder.mkdir()
    for k in range(count):
        small = np.random.default_rng(k).integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(small).resize((16, 16), 0).save(folder / f"{k}.png")


@pytest.mark.skipif(sys.platform != "linux", reason="needs bytes as file names")
def test_json_is_utf8_whatever_the_terminal_says(tmp_path):
    drawings(tmp_path / "a–b", 3)
    done = shell("kurabe data check 'a–b' --json", PYTHONIOENCODING="cp932")
    assert json.loads(done.stdout)["source"] == "a–b", done.stderr


def test_a_second_fit_never_writes_into_the_firsts_record(tmp_path, capsys):
    from kurabe.methods import choices_of, find

    choices = choices_of(find("ddpm")).model_dump()
    recipe = Recipe.checked(
        {"method": "ddpm", "choices": choices, "data": {"source": "digits"},
         "budget": {"images": 1}}, "test",
    )  # fmt: skip
    run = RunFolder(tmp_path / "R").create(recipe.to_toml(), {"status": "running"})
    before = run.info_path.read_bytes()
    with writing(run.path / ".fit.lock"):
        code = answer(["fit", "ddpm", "--data", "digits", "--out", "R", "--size", "8"])
    assert code == 2
    assert "being written by another process" in capsys.readouterr().err
    assert run.info_path.read_bytes() == before


@pytest.mark.parametrize("key", ["seed", "budget", "base", "method"])
def test_what_has_an_option_of_its_own_is_no_setting(key, capsys):
    """Fault: --set seed=5 overruled --seed without a word."""
    assert answer(["fit", "ddpm", "--data", "digits", "--set", f"{key}=5"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"--set {key}: ") and error.count("\n") == 1
    assert f"--{key}" in error or "method's name" in error


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/mem is Linux's")
def test_a_disk_that_fails_in_the_middle_of_a_file_names_the_file(tmp_path):
    """The system's error names none then; here of a first byte that cannot be read."""
    damaged = tmp_path / "damaged.toml"
    damaged.symlink_to("/proc/self/mem")
    with pytest.raises(UserError, match=r"damaged\.toml: the disk reports a fault") as raised:
        read_toml(damaged)
    assert str(raised.value).endswith(".")
    with pytest.raises(OSError) as bare:
        damaged.read_bytes()
    assert bare.value.filename is None
    assert "damaged.toml" in sentence(bare.value)
    # What a terminal takes is no file.
    assert "a file that the command" in sentence(OSError(errno.EIO, "fault"))


def test_links_that_lead_around_are_said(tmp_path, capsys):
    (tmp_path / "loop").symlink_to("loop")
    assert answer(["runs", "--runs", "loop"]) == 0
    for command in (
        ["data", "check", "loop"],
        ["embed", "loop", "--data", "digits", "--out", "e.parquet"],
        ["sample", "emoji-32", "--out", "loop"],
        ["fit", "ddpm", "--data", "digits", "--out", "loop"],
    ):
        capsys.readouterr()
        assert answer(command) == 2, command
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "loop" in error and "failed in" not in error
    with pytest.raises((RuntimeError, OSError)) as around:
        (tmp_path / "loop").resolve(strict=True)
    assert "leads around in links" in sentence(around.value)


def test_a_folder_of_runs_that_cannot_be_listed_is_no_study_without_runs(tmp_path):
    run = StudyFolder(tmp_path / "study").run("ddpm", 1).create("", {})
    assert len(StudyFolder(tmp_path / "study").runs()) == 1
    runs = run.path.parent.parent
    runs.rename(tmp_path / "moved")
    runs.symlink_to("runs")
    with pytest.raises(OSError, match="Too many levels"):
        StudyFolder(tmp_path / "study").runs()
    # What is not there yet has none.
    assert StudyFolder(tmp_path / "none").runs() == {}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/mem is Linux's")
def test_a_zip_on_a_disk_that_fails_is_not_called_another_kind_of_file(tmp_path, capsys):
    (tmp_path / "a.zip").symlink_to("/proc/self/mem")
    (tmp_path / "model_index.json").symlink_to("/proc/self/mem")
    assert answer(["data", "check", "a.zip"]) == 1
    assert capsys.readouterr().err.startswith("a.zip: the disk reports a fault")
    assert answer(["sample", ".", "--out", "drawn"]) in (1, 2)
    assert "model_index.json" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/mem is Linux's")
def test_a_run_that_cannot_be_read_is_named_beside_the_table(tmp_path, capsys):
    """The table goes on, and what it lacks is said: by the same look at the files."""
    shutil.copytree(SHIPPED / "emoji-openmoji", tmp_path / "s")
    record = tmp_path / "s" / "runs" / "ddpm" / "block-2" / "run.json"
    record.unlink()
    record.symlink_to("/proc/self/mem")
    for form in ("table", "csv"):
        assert answer(["compare", "--study", "s", "--format", form]) == 0
        said = capsys.readouterr()
        assert said.out
        assert said.err.count("\n") == 1 and "block-2/run.json" in said.err
    assert len(read_results(StudyFolder(tmp_path / "s")).unread) == 1


def test_what_was_made_stays_where_its_own_folder_cannot_be_removed(tmp_path):
    with folder_for_now(tmp_path) as folder:
        (folder / "made").write_text("x")
        (folder / "made").rename(tmp_path / "kept")
        # The system lets nothing be listed any more: shutil.rmtree meets a file.
        folder.rmdir()
        folder.write_text("")
    assert (tmp_path / "kept").read_text() == "x"
    with pytest.raises(KeyError), folder_for_now(tmp_path) as folder:
        raise KeyError
    assert not folder.exists()
