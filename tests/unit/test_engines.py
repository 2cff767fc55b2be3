"""Engines as the command line names them, and when a run that was cut short is begun again."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest
from test_study import study
from tiny_study import STUDY

from kurabe.cli import answer
from kurabe.execution.engine import End, Need
from kurabe.execution.job import Job
from kurabe.execution.local import HERE
from kurabe.execution.pool import Running
from kurabe.records import StudyFolder
from kurabe.runs.worker import BUSY
from kurabe.studies.jobs import GIB, block_jobs, gpu_bytes
from kurabe.studies.state import StudyState


def test_without_ray_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(STUDY.format(workers=1, images=64))
    source = """
import sys
sys.modules["ray"] = None
from kurabe.cli import answer
sys.exit(answer(["study", "tiny.toml", "--yes", "--on", "ray"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=tmp_path, capture_output=True, text=True, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "Ray is not installed; pip install 'kurabe[ray]', here and on every node, or leave --on "
        "out to use this machine.\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_an_engine_that_there_is_not_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert answer(["study", "digits", "--on", "rai", "--yes"]) == 2
    assert capsys.readouterr().err == "There is no engine 'rai'; did you mean ray?\n"
    assert not list(tmp_path.iterdir())


def test_this_machine_has_room_by_its_cores_and_for_one_run_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kurabe.execution.local.cores", lambda: 8)
    assert [HERE.room(Need(cores), None) for cores in (1, 3, 16)] == [8, 2, 1]
    assert [HERE.room(Need(1, of), None) for of in (None, 10**9)] == [1, 1]
    assert [HERE.room(Need(1, of), 4) for of in (0, None)] == [4, 4]


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """The runs of a study on a GPU that has images for a budget."""
    one = study(
        budget={"images": 1000}, equal="images", blocks=2, trials={"count": 0}, device="cuda",
        dtype="float32",
    )  # fmt: skip
    return block_jobs(one, StudyState(), StudyFolder(tmp_path / "study"))


def test_a_run_that_was_cut_short_is_begun_again_where_it_had_gone_on(jobs: list[Job]) -> None:
    job = jobs[0]
    worker = HERE.start(job.folder.path, job.need, Event())
    killed, lost, failed, busy = End(-9), End(None), End(1), End(BUSY)
    once, twice = Running(job, worker), Running(job, worker, attempt=2)
    assert [once.goes_on_after(end) for end in (killed, lost, failed, busy)] == [
        True, True, False, False,
    ]  # fmt: skip
    # What was lost may hold its folder for a while; a second kill at one place is the run's own.
    assert [twice.goes_on_after(end) for end in (killed, lost, failed, busy)] == [
        False, False, False, True,
    ]  # fmt: skip
    job.folder.update(images_seen=320)
    assert [twice.goes_on_after(end) for end in (killed, lost, failed)] == [True, True, False]
    # Begun from there, it must have gone further.
    assert not Running(job, worker, attempt=3).goes_on_after(lost)
    assert not Running(job, worker, attempt=4).goes_on_after(busy)
    with job.folder.writing():
        job.folder.update(status="finished")
    assert not once.goes_on_after(killed)
    worker.close()
    worker.wait(30)


def test_runs_share_a_gpu_by_what_finished_ones_took_of_it_but_never_where_seconds_count(
    jobs: list[Job],
) -> None:
    counted = study(budget={"images": 1000}, equal="images")
    first, column = jobs[0], jobs[0].column
    assert first.need == Need(1, None)
    assert gpu_bytes(counted, jobs, column) is None
    with first.folder.writing():
        first.folder.update(status="finished", peak_memory=4 * GIB - 1)
    # Half as much again for sampling and measuring, and a GiB that is torch's own.
    assert gpu_bytes(counted, jobs, column) == 7 * GIB
    others = {job.column.id for job in jobs} - {column.id}
    assert {gpu_bytes(counted, jobs, counted.column(other)) for other in others} == {None}
    assert gpu_bytes(study(budget={"seconds": 60}), jobs, column) is None
