"""What is wrong with the input is said in one sentence on stderr, with exit code 2.

Each test gives the real command line a real bad input; nothing that was there before is lost.
"""

import ctypes
import json
import os
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch
from PIL import Image

import kurabe
from kurabe import cli, randomness
from kurabe.cli import answer
from kurabe.data.known.fetch import pip
from kurabe.errors import UserError
from kurabe.evaluation.samples import sample_seeds
from kurabe.methods import choices_of, find
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.runs.precision import check_device, settled_device
from kurabe.studies.single import Single, single_study
from kurabe.studies.state import StudyState
from kurabe.studies.study import parse_budget
from kurabe.study_settings import MOST_SEED


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KURABE_CACHE", str(tmp_path / "cache"))


def drawings(folder: Path, count: int, channels: int = 3) -> Path:
    """Images that differ clearly from one another."""
    folder.mkdir()
    for k in range(count):
        rng = np.random.default_rng(k)
        small = rng.integers(0, 256, (4, 4, channels), np.uint8).squeeze()
        Image.fromarray(small).resize((40, 40), Image.Resampling.NEAREST).save(folder / f"{k}.png")
    return folder


def refused(capsys, *arguments: str) -> str:
    """The sentence on stderr of a command that must end with exit code 2."""
    code = answer(list(arguments))
    out, error = capsys.readouterr()
    assert code == 2, (code, out, error)
    assert error.count("\n") == 1
    assert error.endswith((".\n", "?\n"))
    assert "Traceback" not in error
    return error


def test_empty_folder(capsys, tmp_path):
    (tmp_path / "nothing").mkdir()
    assert "nothing" in refused(capsys, "study", "nothing", "--yes")
    assert not (tmp_path / "nothing-study").exists()


def test_missing_folder(capsys):
    assert "nowhere" in refused(capsys, "study", "nowhere", "--yes")


def test_one_image(capsys, tmp_path):
    drawings(tmp_path / "one", 1)
    error = refused(capsys, "study", "one", "--yes")
    assert error.startswith("Only 1 image is left after duplicates; a study needs at least 20.")
    assert "kurabe data check one" in error


def test_identical_images(capsys, tmp_path):
    folder = drawings(tmp_path / "same", 1)
    for k in range(1, 30):
        (folder / f"{k}.png").write_bytes((folder / "0.png").read_bytes())
    assert "Only 1 image is left" in refused(capsys, "study", "same", "--yes")
    assert not (tmp_path / "same-study").exists()


def bomb() -> bytes:
    """A PNG that says it is 50,000 × 50,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 100_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_broken_files_are_skipped_counted_and_named(capsys, tmp_path):
    folder = drawings(tmp_path / "scans", 24)
    whole = (folder / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "page.png").write_text("<html><body>404</body></html>")
    (folder / "bomb.png").write_bytes(bomb())
    assert answer(["data", "check", "scans", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["found"], report["kept"]) == (27, 24)
    assert sorted(file for file, _ in report["dropped"]) == ["bomb.png", "cut.png", "page.png"]
    assert "<html>" in dict(report["dropped"])["page.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_unreadable_folder(tmp_path):
    folder = drawings(tmp_path / "closed", 3)
    folder.chmod(0)

    def without_root_rights() -> None:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            ctypes.CDLL(None).prctl(24, capability)

    try:
        done = subprocess.run(
            [sys.executable, "-m", "kurabe", "study", "closed", "--yes"],
            capture_output=True, text=True, preexec_fn=without_root_rights, check=False,
        )  # fmt: skip
    finally:
        folder.chmod(0o755)
    assert done.returncode == 2, done.stderr
    assert "closed" in done.stderr
    assert done.stderr.count("\n") == 1


def test_full_disk(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(small)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        (small / "before").write_text("kept")
        drawings(tmp_path / "scans", 24)
        filler = small / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(b"x" * 1_000_000)
        done = subprocess.run(
            [sys.executable, "-m", "kurabe", "study", "scans", "--yes", "--out", str(small / "s")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert "full" in done.stderr
        assert done.stderr.count("\n") == 1
        assert (small / "before").read_text() == "kept"
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("methods", "lorra"), 'No method "lorra". Did you mean lora or t-lora?'),
        (("compare", "lorra"), 'No method "lorra". Did you mean lora or t-lora?'),
        (("fit", "lorra", "--data", "digits"), 'No method "lorra". Did you mean lora or t-lora?'),
        (("fit", "textual-inversion", "--data", "digits"), "textual-inversion"),
        (("fit", "ddpm", "--data", "digits", "--set", "optimiser.lrr=1"), "optimiser.lrr"),
        (
            ("fit", "ddpm", "--data", "digits", "--set", "optimiser.lr=fast"),
            "optimiser.lr = 'fast'",
        ),
        (("fit", "ddpm", "--data", "digits", "--set", "optimiser"), "--set optimiser"),
        (("fit", "ddpm", "--data", "digits", "--budget", "0s"), "above zero"),
        (("study", "digits", "--budget", "0img"), "above zero"),
        (("study", "digits", "--seeds", "0"), "--seeds"),
        (("study", "absent.toml"), "absent.toml does not exist"),
        (("compare", "--study", "absent"), "absent"),
        (("compare", "--format", "yaml"), "yaml"),
        (("data", "get", "imagenet"), "imagenet"),
        (("sample", "latest", "--out", "drawn"), 'No run "latest"'),
        (("studdy",), "studdy"),
    ],
)
def test_what_is_asked_for_is_not_there(capsys, arguments, says):
    assert says in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('colour = "red"', "there is no setting 'colour'"),
        ('blocks = "many"', "blocks = 'many'"),
        ("blocks = ", "cannot be read as TOML"),
    ],
)
def test_a_study_file_with_a_mistake(capsys, tmp_path, line, says):
    (tmp_path / "mine.toml").write_text(
        f'{line}\nname = "mine"\nbaseline = "ddpm"\nbudget = {{ seconds = 5 }}\n'
        'data = { source = "digits" }\n[[columns]]\nid = "ddpm"\nmethod = "ddpm"\n'
    )
    error = refused(capsys, "study", "mine.toml", "--yes")
    assert says in error
    assert "mine.toml" in error


def test_a_base_that_draws_other_images(capsys, tmp_path):
    drawings(tmp_path / "scans", 24)
    base = tmp_path / "grey-28"
    base.mkdir()
    (base / "base.json").write_text(json.dumps({"image_size": 28, "channels": 1, "network": {}}))
    error = refused(capsys, "study", "scans", "--base", str(base), "--yes")
    assert error.startswith("grey-28 draws 28×28 grey; these images are colour. Use ")
    assert "--grey --size 28" in error


def planned(tmp_path, budget):
    choices = choices_of(find("ddpm")).model_dump()
    settings = {"method": "ddpm", "choices": choices, "data": {"source": "digits"}}
    recipe = Recipe.checked({**settings, "budget": budget}, "test")
    return RunFolder(tmp_path / "run").create(recipe.to_toml(), {})


def test_a_base_that_has_not_begun_to_train(capsys, tmp_path):
    drawings(tmp_path / "scans", 24)
    planned(tmp_path, {"images": 10})
    error = refused(capsys, "study", "scans", "--base", "run", "--yes")
    assert error == "run has no weights yet; the run must finish first.\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "Usage: python -m kurabe.training RECIPE.toml FOLDER"),
        (("none.toml", "out"), "none.toml"),
        (("run/recipe.toml", "out"), "needs its budget in images"),
    ],
)
def test_training_by_itself_refuses_in_a_sentence(tmp_path, words, says):
    planned(tmp_path, {"seconds": 5})
    command = [sys.executable, "-m", "kurabe.training", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert says in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_pickled_checkpoint(capsys, tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harmed"),)

    recipe = Recipe.checked(
        {
            "method": "ddpm",
            "choices": choices_of(find("ddpm")).model_dump(),
            "data": {"source": "digits"},
            "budget": {"images": 1},
        },
        "test",
    )
    run = RunFolder(tmp_path / "run").create(recipe.to_toml(), {"image_shape": [8, 8, 1]})
    (run.checkpoints / "model.safetensors").write_bytes(pickle.dumps(Harmful()))
    assert "safetensors" in refused(capsys, "sample", "run", "--out", "drawn")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("encoding", ["cp932", "latin-1"])
def test_a_legacy_encoding_never_turns_a_mark_into_another(encoding):
    """A file is the same bytes under any encoding; what is said uses stand-ins, never "?"."""

    def said(*words: str, under: str) -> bytes:
        environment = {**os.environ, "PYTHONIOENCODING": under}
        command = [sys.executable, "-m", "kurabe", *words]
        return subprocess.run(command, env=environment, check=True, capture_output=True).stdout

    export = ("compare", "--study", "fashion-animals", "--format", "csv", "--lang", "en")
    assert said(*export, under=encoding) == said(*export, under="utf-8")
    marks = said("compare", "--help", under=encoding).decode(encoding)
    same = {"cp932": "≒", "latin-1": "~"}[encoding]
    assert f"{same} the same for all practical" in marks


@pytest.mark.parametrize("device", ["cuda:7", "gpu"])
def test_a_device_that_is_not_there(tmp_path, capsys, device):
    command = [
        "sample",
        "emoji-32",
        "--out",
        str(tmp_path / "drawn"),
        "-n",
        "1",
        "--device",
        device,
    ]
    assert answer(command) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"There is no device {device} here (") and said.count("\n") == 1
    assert said.endswith("); cpu always works.\n")
    assert not (tmp_path / "drawn").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what holds without such a device")
@pytest.mark.parametrize("device", ["cuda", "cuda:7", "mps", "gpu", "cuda:x", "meta"])
@pytest.mark.parametrize(
    "words",
    [
        ("fit", "ddpm", "--data", "digits", "--size", "8"),
        ("study", "digits", "--size", "8", "--yes"),
    ],
    ids=["fit", "study"],
)
def test_a_device_that_is_not_there_is_refused_before_anything_begins(
    words: tuple[str, ...], device: str, tmp_path, capsys, monkeypatch
):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert answer([*words, "--device", device]) == 2
    out, said = capsys.readouterr()
    assert said.startswith(f"There is no device {device} here (") and said.count("\n") == 1
    assert said.endswith("); cpu always works.\n")
    assert out == "" and not list(here.iterdir())


@pytest.mark.parametrize("device", ["gpu", "cuda:-1", 3])
def test_a_device_in_a_file_that_is_the_name_of_none(tmp_path, capsys, device):
    settings = {
        "name": "s", "data": {"source": "digits", "size": 8, "channels": 1}, "baseline": "ddpm",
        "columns": [{"id": "ddpm", "method": "ddpm"}], "budget": {"seconds": 60}, "device": device,
    }  # fmt: skip
    (tmp_path / "study.toml").write_text(tomli_w.dumps(settings))
    assert answer(["study", str(tmp_path / "study.toml"), "--yes"]) == 2
    assert f"study.toml: device = {device!r}: " in capsys.readouterr().err


def test_auto_is_cuda_then_mps_then_the_cpu(monkeypatch: pytest.MonkeyPatch):
    """By what torch says is there, on a system that would have both."""
    monkeypatch.setattr(sys, "platform", "darwin")
    for gpus, metal, settled in ((2, True, "cuda"), (0, True, "mps"), (0, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpus=gpus: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda metal=metal: metal)
        assert settled_device("auto") == settled
        for there in ["cpu", *["cuda", "cuda:1"][:gpus], *["mps"][: int(metal)]]:
            check_device(there)
        with pytest.raises(
            UserError, match=rf"no device cuda:2 here \(torch sees {gpus or 'no'} GPU"
        ):
            check_device("cuda:2")


@pytest.mark.parametrize("command", ["study", "demo", "fit", "sample", "embed", "evaluate"])
def test_every_command_that_computes_takes_a_device(command: str, capsys):
    assert answer([command, "--help"]) == 0
    assert "--device" in capsys.readouterr().out


def test_a_seed_has_one_limit_and_the_option_is_named(capsys):
    """A run's own images have the seeds s·2²⁰ and up, keys of 64 bits: 10¹² leaves room."""
    assert MOST_SEED == cli.MOST_SEED
    over = str(MOST_SEED + 1)
    for command in (("fit", "ddpm", "--data", "digits"), ("study", "digits"), ("demo",)):
        error = refused(capsys, *command, "--seed", over)
        assert error.startswith(f"--seed must be at most {MOST_SEED}; kurabe {command[0]} --help")


@pytest.mark.parametrize("seed", [500_000, MOST_SEED])
def test_the_largest_seed_of_a_run_reaches_its_last_image(seed):
    wanted = Single("ddpm", "digits", seed=seed, size=8, channels=1, budget="64img")
    one = single_study(wanted)
    state = StudyState(rates={"ddpm": 1.0})
    run = one.recipe(one.columns[0], 1000, state)
    trial = one.trial(one.columns[0], 1e-3, state)
    assert run.seed == seed + 999 < trial.seed
    last = sample_seeds(trial.seed, 128)[-1]
    assert randomness.normal(last, "noise", [0], (2,)).shape == (1, 2)


@pytest.mark.parametrize(
    ("option", "value", "meant"),
    [("--seeds", "0", "at least 1"), ("--seeds", "1001", "at most 1000"),
     ("--seeds", "two", "a whole number"), ("--size", "3", "at least 4"),
     ("--size", "1.5", "a whole number"), ("--seed", "-1", "at least 0"),
     ("--lang", "fr", "'ja', 'en'"), ("--budget", "1e30s", "at most 1e9 s"),
     ("--budget", "soon", "write it like 90s"), ("--budget", "0s", "above zero")],
)  # fmt: skip
def test_a_value_that_an_option_does_not_take(capsys, option, value, meant):
    error = refused(capsys, "study", "digits", option, value)
    assert option in error
    assert meant in error
    assert "Input should" not in error
    assert "Value error" not in error
    # One sentence: no second one follows a full stop, or nothing at all.
    assert ". " not in error
    assert "--help shows" not in error or "; kurabe study --help shows" in error


def test_a_budget_may_have_an_exponent():
    assert parse_budget("1e3img").images == 1000
    assert parse_budget("1.5e1 min").seconds == 900


def test_modules_beside_which_a_command_is_typed_change_nothing(tmp_path):
    """What begins another Python there gives it none of the folder's files as modules."""
    for name in ("torch", "numpy", "json", "random", "pip", "typing"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')\n")
    (tmp_path / "kurabe").mkdir()
    (tmp_path / "kurabe" / "__init__.py").write_text("raise SystemExit('not this one')\n")
    place = pip("no-such-package-anywhere", "0.0.1", "none.whl")
    assert "-P" in place.command
    begun = [
        [*place.command[: place.command.index("pip") + 1], "--version"],
        [sys.executable, "-P", "-m", "kurabe.studies.calibration", "nowhere"],
    ]
    for command in begun:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert "not this one" not in done.stdout + done.stderr


def test_every_python_that_is_begun_takes_no_module_from_the_folder():
    """`python -m` puts the working folder first; all places that begin one say -P."""
    source = Path(kurabe.__file__).parent
    for file in source.rglob("*.py"):
        for part in file.read_text(encoding="utf-8").split("sys.executable, ")[1:]:
            # The command itself is begun again with the words that its own process was begun with.
            assert part.startswith('"-P"') or file.name == "standard_streams.py", file
