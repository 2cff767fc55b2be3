"""A study that is killed, stopped or robbed of a worker goes on with the same command.

The weights at the end must be those of a study that nobody touched, bit for bit, and speeds
must be measured once only. Real processes on scikit-learn's digits.
"""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from kurabe.records import StudyFolder

sys.path.insert(0, str(Path(__file__).parent.parent / "unit"))

from tiny_study import STUDY

TINY = STUDY.format(workers=2, images=12000)


def command(place: Path, *more: str) -> list[str]:
    (place / "tiny.toml").write_text(TINY)
    return [sys.executable, "-m", "kurabe", "study", str(place / "tiny.toml"), "--yes",
            "--out", str(place / "study"), *more]  # fmt: skip


def begin(place: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(place), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def weights(place: Path) -> dict[str, str]:
    """A digest of each finished run's weights."""
    found: dict[str, str] = {}
    for (column, _), run in StudyFolder(place / "study").runs().items():
        assert run.status == "finished", run.info
        data = (run.checkpoints / "model.safetensors").read_bytes()
        found[column] = hashlib.sha256(data).hexdigest()
    return found


def wait_until(check, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def training(place: Path) -> bool:
    """Whether both runs have been learning for a while."""
    runs = StudyFolder(place / "study").runs().values()
    return len(runs) == 2 and all(len(run.metrics()) > 20 for run in runs)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory) -> dict[str, str]:
    place = tmp_path_factory.mktemp("untouched")
    subprocess.run(command(place), check=True, capture_output=True)
    return weights(place)


def continued(place: Path, before: str) -> dict[str, str]:
    """The weights after the same command again; speeds must not have been measured again."""
    done = subprocess.run(command(place), check=True, capture_output=True, text=True)
    assert "measuring speed" not in done.stdout
    assert (place / "study" / "study.json").read_text() == before
    return weights(place)


def test_speeds_are_measured_once(tmp_path):
    for expected in (True, False):
        done = subprocess.run(
            command(tmp_path, "--dry-run"), check=True, capture_output=True, text=True
        )
        assert ("measuring speed" in done.stdout) == expected
        state = (tmp_path / "study" / "study.json").read_text()
        assert "masked" in state
    assert not (tmp_path / "study" / "runs").exists()


@pytest.mark.slow
def test_killed_parent(tmp_path, untouched):
    process = begin(tmp_path)
    wait_until(lambda: training(tmp_path))
    process.kill()
    process.wait()
    runs = StudyFolder(tmp_path / "study").runs().values()
    wait_until(lambda: not any(run.is_being_written for run in runs))
    assert {run.status for run in runs} == {"interrupted"}
    assert continued(tmp_path, (tmp_path / "study" / "study.json").read_text()) == untouched


@pytest.mark.slow
def test_killed_worker(tmp_path, untouched):
    process = begin(tmp_path)
    wait_until(lambda: training(tmp_path))
    for worker in psutil.Process(process.pid).children():
        worker.kill()
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, (out, error)
    assert weights(tmp_path) == untouched


@pytest.mark.slow
def test_interrupt(tmp_path, untouched):
    process = begin(tmp_path)
    wait_until(lambda: training(tmp_path))
    os.kill(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Interrupted; everything is saved" in error
    runs = StudyFolder(tmp_path / "study").runs().values()
    assert {run.status for run in runs} == {"interrupted"}
    assert continued(tmp_path, (tmp_path / "study" / "study.json").read_text()) == untouched


@pytest.mark.slow
def test_a_second_command_at_the_same_time_is_refused(tmp_path):
    process = begin(tmp_path)
    wait_until(lambda: training(tmp_path))
    second = subprocess.run(command(tmp_path), capture_output=True, text=True, check=False)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert second.returncode == 2
    assert "another process" in second.stderr
    assert second.stderr.count("\n") == 1
