"""Processes that carry out one run after another: what is left of one is seen by no other.

Real processes on scikit-learn's digits. Two runs of one recipe, the first of a process and a later
one of another, must give the same scores and weights, bit for bit.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kurabe.adaptations.full import Full
from kurabe.execution.job import Job
from kurabe.execution.local import HERE
from kurabe.execution.pool import Pool, Running, run_jobs
from kurabe.methods.choices import Choices
from kurabe.objectives.denoising import Denoising
from kurabe.recipe import Budget, DataSettings, Evaluation, Network, Optimiser, Recipe
from kurabe.records import RunFolder
from kurabe.runs.peak_memory import PeakMemory
from kurabe.study_settings import Column

# Rows that tell what a run cost here and now.
MEASURED_BY_CLOCK = {"seconds", "images-per-second", "seconds-per-sample", "peak-memory"}


def job(place: Path, seed: int = 0, base: str | None = None) -> Job:
    recipe = Recipe(
        method="ddpm",
        choices=Choices(
            start="random" if base is None else "base",
            adaptation=Full(),
            objective=(Denoising(),),
        ),
        base=base,
        data=DataSettings(source="digits", limit=120),
        budget=Budget(images=256),
        network=Network(patch=2, width=32, depth=3, heads=2, decoder=1),
        evaluation=Evaluation(
            encoder="pixels", samples=8, evaluations=3, loss_images=12, log_snrs=(4,), grids=(1,)
        ),
        optimiser=Optimiser(batch=32),
        seed=seed,
    )
    folder = RunFolder(place).create(recipe.to_toml(), {"id": place.name, "method": "ddpm"})
    return Job(Column(id="ddpm", method="ddpm"), folder, recipe, 1)


def test_a_run_sees_nothing_of_those_before_it(tmp_path: Path) -> None:
    """The second run fails and its process is replaced; the third's process is killed once."""
    first, fails = job(tmp_path / "first"), job(tmp_path / "fails", base=str(tmp_path / "none"))
    killed, again = job(tmp_path / "killed", seed=1), job(tmp_path / "again")
    by: dict[str, list[int]] = {}

    def look(running: Sequence[Running]) -> None:
        for one in running:
            pids, pid = by.setdefault(one.job.folder.path.name, []), one.worker.process.pid
            if pid not in pids:
                pids.append(pid)
            if one.job is killed and one.attempt == 1:
                one.worker.process.kill()

    ended: list[Job] = []
    with Pool(HERE) as pool:
        run_jobs([first, fails, killed, again], 1, pool, look, ended.append)
    assert ended == [first, fails, killed, again]
    assert [one.folder.status for one in ended] == ["finished", "failed", "finished", "finished"]
    assert "none" in fails.folder.info["error"]
    assert by["first"] == by["fails"]
    assert by["killed"][1:] == by["again"] and len(by["killed"]) == 2
    assert len({pid for pids in by.values() for pid in pids}) == 3
    # Some 300 MB, nearly all of it torch's own, of which a process's first run pages in 40.
    peaks = [one.folder.info["peak_memory"] for one in (first, again)]
    assert peaks[0] is None or abs(peaks[1] / peaks[0] - 1) < 0.2
    weights = [one.folder.checkpoints / "model.safetensors" for one in (first, killed, again)]
    assert weights[0].read_bytes() == weights[2].read_bytes() != weights[1].read_bytes()
    scores = [one.folder.score("scores") for one in (first, again)]
    assert scores[0]["checkpoint"] == scores[1]["checkpoint"]
    values = [
        {row: of for row, of in s["metrics"].items() if row not in MEASURED_BY_CLOCK}
        for s in scores
    ]
    assert len(values[0]) > 15
    assert values[0] == values[1]


def test_peak_memory_is_counted_from_a_run_s_start(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a process that has seen no run.
    monkeypatch.setattr("kurabe.runs.peak_memory._at_first", None)
    # Whole arrays of this size are mapped by themselves, and given back when they are let go.
    size = 200 << 20
    held = np.ones(size, np.uint8)
    peak = PeakMemory("cpu").bytes
    if peak is None:
        pytest.skip("the system does not tell")
    del held
    after = PeakMemory("cpu")
    assert after.bytes is not None
    assert after.bytes < peak - size // 2
    again = np.ones(size, np.uint8)
    assert after.bytes > peak - size // 4
    del again
