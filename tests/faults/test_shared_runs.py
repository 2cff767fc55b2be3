"""Runs that two processes share, through `kurabe fit` and `kurabe study`: the weights of one.

Real processes (torch.distributed, gloo) on scikit-learn's digits. What one process trains and two
do is the same up to the order of sums: TOLERANCE is that of test_processes, which holds every kind
of objective to it.
"""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from kurabe.cli import answer
from kurabe.recipe import Recipe
from kurabe.records import RunFolder, StudyFolder
from kurabe.studies.state import StudyState

sys.path.insert(0, str(Path(__file__).parent.parent / "unit"))

from tiny_study import STUDY

# Of weights of at most about 1.
TOLERANCE = 1e-5
PATIENCE = 900
SMALL = {
    # In bfloat16 sums of parts differ by what is rounded off: 3e-3 of these weights were seen.
    "where": '{dtype="float32",threads=1}',
    "network": "{patch=2,width=32,depth=3,heads=2,decoder=1}",
    "evaluation": '{encoder="pixels",samples=16,evaluations=4,real_images=32,loss_images=16,'
    "log_snrs=[4],grids=[1],place=[0.5,4,1],search_images=60}",
}


def fit(place: Path, processes: int, budget: str) -> subprocess.Popen[str]:
    settings = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    # The same gradients where blocks are computed twice, in all processes.
    settings += ["--set", "where.gradient_checkpointing=true"] if processes > 1 else []
    command = [
        *("fit", "contrastive-diffusion", "--data", "digits", "--size", "8", "--grey"),
        *("--budget", budget, "--out", str(place), "--processes", str(processes), *settings),
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "kurabe", *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def said(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=PATIENCE)
    assert (process.returncode, error) == (0, ""), (out, error)
    return out


def differences(one: RunFolder, two: RunFolder) -> list[float]:
    """The largest difference of each tensor of two finished runs' weights."""
    assert (one.status, two.status) == ("finished", "finished"), (one.info, two.info)
    weights = [load_file(run.checkpoints / "model.safetensors") for run in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    return [float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0]]


def test_two_processes_fit_what_one_fits(tmp_path: Path) -> None:
    for processes in (1, 2):
        said(fit(tmp_path / str(processes), processes, "320img"))
    one, two = RunFolder(tmp_path / "1"), RunFolder(tmp_path / "2")
    # Were both to compute everything, or one to be idle, the sums would be the same.
    assert 0 < max(differences(one, two)) < TOLERANCE
    recipes = [Recipe.from_toml(run.recipe_path) for run in (one, two)]
    assert [recipe.where.processes for recipe in recipes] == [1, 2]
    assert recipes[0].digest == recipes[1].digest
    assert "processes" not in one.recipe_path.read_text()
    assert two.score("scores")["metrics"].keys() == one.score("scores")["metrics"].keys()


@pytest.mark.slow
def test_a_study_whose_runs_two_processes_share_has_the_weights_of_one(tmp_path: Path) -> None:
    for name, more in (("one", ""), ("two", "processes = 2\n")):
        more += 'dtype = "float32"\n'
        (tmp_path / name).mkdir()
        (tmp_path / name / "tiny.toml").write_text(more + STUDY.format(workers=1, images=320))
        done = subprocess.run(
            [sys.executable, "-m", "kurabe", "study", "tiny.toml", "--yes", "--out", "study",
             "--columns", "masked"],
            cwd=tmp_path / name, capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
    one, two = (StudyFolder(tmp_path / name / "study").runs() for name in ("one", "two"))
    assert [*one] == [*two] == [("masked", 1)]
    assert 0 < max(differences(one["masked", 1], two["masked", 1])) < TOLERANCE
    # Speeds were measured by two processes as well.
    state = StudyState.read(tmp_path / "two" / "study" / "study.json")
    assert min(state.rates.values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("which", ["first", "helper"])
def test_a_run_goes_on_where_either_process_is_killed(tmp_path: Path, which: str) -> None:
    said(fit(tmp_path / "untouched", 2, "60000img"))
    process, folder = fit(tmp_path / "killed", 2, "60000img"), RunFolder(tmp_path / "killed")
    deadline = time.monotonic() + PATIENCE
    while not (folder.checkpoints / "state.safetensors").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    (first,) = (
        one
        for one in psutil.Process(process.pid).children()
        if "kurabe.runs.worker" in one.cmdline()
    )
    (helper,) = first.children()
    assert "kurabe.runs.helper" in helper.cmdline()
    (first if which == "first" else helper).kill()
    said(process)
    psutil.wait_procs([first, helper], timeout=10)
    assert not first.is_running() and not helper.is_running()
    runs = RunFolder(tmp_path / "untouched"), folder
    assert max(differences(*runs)) == 0


def test_what_processes_cannot_share_is_said_in_a_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["fit", "ddpm", "--data", "digits", "--out", str(tmp_path / "run")]
    assert answer([*words, "--processes", "2", "--device", "cuda:1"]) == 2
    assert capsys.readouterr().err.endswith(
        "processes = 2: each takes a device of its own, and cuda:1 names one; write cuda.\n"
    )
    assert not (tmp_path / "run" / "recipe.toml").exists()
