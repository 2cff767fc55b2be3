"""Killed at any instant, the same command goes on, and ends in the same weights, bit for bit."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from train_once import BUDGET, process

from kurabe.records import RunFolder

# Longer than any busy machine takes; a test waits for states, and this is where it gives up.
PATIENCE = 300


@pytest.fixture(scope="module")
def begin() -> Iterator[Callable[..., ForkServerProcess]]:
    """Start a run in a process of its own, with the arguments of `train_once.main`.

    The server has imported torch once; each run is forked from it before torch did anything, and
    so begins as a fresh process would, without the seconds.
    """
    context = multiprocessing.get_context("forkserver")
    # torch imports its compiler when the first optimiser is made: seconds, too.
    context.set_forkserver_preload(["train_once", "torch._dynamo"])

    def begin(folder: Path, *arguments: object) -> ForkServerProcess:
        run = context.Process(target=process, args=(errors(folder), folder, *arguments))
        run.start()
        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        yield begin


def errors(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.errors")


def ended(run: ForkServerProcess) -> int | None:
    run.join(PATIENCE)
    return run.exitcode


def finish(begin: Callable[..., ForkServerProcess], folder: Path, method: str) -> None:
    assert ended(begin(folder, method, 1e-3, PATIENCE)) == 0, errors(folder).read_text()


def wait_for(run: ForkServerProcess, folder: Path, images: int) -> None:
    """Until the run's folder tells of so many images, or the run is over."""
    given_up = time.monotonic() + PATIENCE
    while images_seen(folder) < images and run.is_alive():
        assert time.monotonic() < given_up
        time.sleep(0.002)


def told(folder: Path) -> list[dict[str, object]]:
    """Metrics without the seconds, which alone may differ."""
    lines = RunFolder(folder).metrics()
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def weights(folder: Path) -> bytes:
    return (folder / "checkpoints" / "model.safetensors").read_bytes()


def drawn(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoints/drawn-*.npy"))


def images_seen(folder: Path) -> int:
    return RunFolder(folder).info["images_seen"] if RunFolder(folder).exists else 0


@pytest.mark.parametrize(
    "method",
    [
        "contrastive",
        "prior",
        "preconditioned",
        "self-alignment",
        pytest.param("masked", marks=pytest.mark.slow),
    ],
)
def test_killed_at_random_instants_ends_in_the_same_bits(
    tmp_path: Path, method: str, begin: Callable[..., ForkServerProcess]
) -> None:
    finish(begin, tmp_path / "whole", method)
    draw, killed = random.Random(method), tmp_path / "killed"
    kills: list[int] = []
    for _ in range(3):
        run = begin(killed, method)
        wait_for(run, killed, images_seen(killed) + 16)
        # The state is written after every update, so that a kill often falls into a write.
        time.sleep(draw.uniform(0, 0.05))
        run.kill()
        if ended(run) != -signal.SIGKILL:
            break
        kills.append(images_seen(killed))
    assert kills and 0 < kills[0] < BUDGET
    finish(begin, killed, method)
    assert weights(killed) == weights(tmp_path / "whole")
    assert told(killed) == told(tmp_path / "whole")


def test_killed_while_its_base_draws_goes_on_with_the_next_image(
    tmp_path: Path, begin: Callable[..., ForkServerProcess]
) -> None:
    finish(begin, tmp_path / "whole", "prior")
    assert len(drawn(tmp_path / "whole")) == 0
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path / "whole.base", tmp_path / "killed.base")
    run = begin(killed, "prior")
    given_up = time.monotonic() + PATIENCE
    while len(drawn(killed)) < 2:
        assert run.is_alive() and time.monotonic() < given_up
        time.sleep(0.001)
    run.kill()
    assert ended(run) == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in drawn(killed)}
    assert 2 <= len(before) < 9 and images_seen(killed) == 0
    spent = RunFolder(killed).info["prepared_seconds"]
    run = begin(killed, "prior")
    while images_seen(killed) == 0 and run.is_alive():
        time.sleep(0.001)
    run.kill()
    assert ended(run) == -signal.SIGKILL
    after = {path: path.stat().st_mtime_ns for path in drawn(killed)}
    assert len(after) == 9 and before.items() <= after.items()
    finish(begin, killed, "prior")
    assert weights(killed) == weights(tmp_path / "whole")
    info = RunFolder(killed).info
    assert info["seconds"] > info["prepared_seconds"] > spent > 0
    assert (info["prepared_passes"], info["prepared_images"]) == (9 * 20, 60)


def test_ctrl_c_saves_between_two_updates(
    tmp_path: Path, begin: Callable[..., ForkServerProcess]
) -> None:
    finish(begin, tmp_path / "whole", "plain")
    run = begin(tmp_path / "stopped", "plain")
    wait_for(run, tmp_path / "stopped", 64)
    assert run.pid is not None
    os.kill(run.pid, signal.SIGINT)
    assert ended(run) == 130
    assert 64 <= images_seen(tmp_path / "stopped") < BUDGET
    finish(begin, tmp_path / "stopped", "plain")
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")


def test_a_non_finite_loss_stops_and_keeps_the_last_good_state(
    tmp_path: Path, begin: Callable[..., ForkServerProcess]
) -> None:
    run = tmp_path / "run"
    assert ended(begin(run, "plain", 1e30)) == 1
    assert "The denoising loss became nan within" in errors(run).read_text()
    assert "the last good state is kept" in errors(run).read_text()
    assert images_seen(run) < BUDGET


def test_a_state_that_is_a_pickle_is_not_opened(
    tmp_path: Path, begin: Callable[..., ForkServerProcess]
) -> None:
    run = tmp_path / "run"
    process = begin(run, "plain")
    wait_for(process, run, 64)
    process.kill()
    assert ended(process) == -signal.SIGKILL
    state = run / "checkpoints" / "state.safetensors"
    state.write_bytes(b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.")
    assert ended(begin(run, "plain")) == 2
    told = errors(run).read_text()
    assert "is not a safetensors file" in told and "they can run code" in told
