"""Killed at any instant, the same command goes on, and ends in the same weights, bit for bit."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kurabe.records import RunFolder

SCRIPT = str(Path(__file__).parent / "train_once.py")


def begin(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, SCRIPT, str(folder), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(folder: Path, method: str) -> None:
    process = begin(folder, method)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 0, error


def told(folder: Path) -> list[dict[str, object]]:
    """Metrics without the seconds, which alone may differ."""
    lines = RunFolder(folder).metrics()
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def weights(folder: Path) -> bytes:
    return (folder / "checkpoints" / "model.safetensors").read_bytes()


def images_seen(folder: Path) -> int:
    return RunFolder(folder).info["images_seen"] if RunFolder(folder).exists else 0


@pytest.mark.parametrize("method", ["contrastive", "masked"])
def test_killed_at_random_instants_ends_in_the_same_bits(tmp_path: Path, method: str) -> None:
    finish(tmp_path / "whole", method)
    draw = random.Random(method)
    kills = []
    while len(kills) < 3:
        process = begin(tmp_path / "killed", method)
        start = images_seen(tmp_path / "killed")
        while images_seen(tmp_path / "killed") <= start and process.poll() is None:
            time.sleep(0.002)
        # The state is written after every update, so that a kill often falls into a write.
        time.sleep(draw.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills.append(images_seen(tmp_path / "killed"))
        if kills[-1] >= 560:
            break
    assert kills[0] < 640, "the first kill came after the end"
    finish(tmp_path / "killed", method)
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert told(tmp_path / "killed") == told(tmp_path / "whole")


def test_ctrl_c_saves_between_two_updates(tmp_path: Path) -> None:
    finish(tmp_path / "whole", "plain")
    process = begin(tmp_path / "stopped", "plain")
    while images_seen(tmp_path / "stopped") < 64:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert 64 <= images_seen(tmp_path / "stopped") < 640
    finish(tmp_path / "stopped", "plain")
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")


def test_a_non_finite_loss_stops_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    process = begin(tmp_path / "run", "plain", "nan")
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "The denoising loss became nan within" in error
    assert "the last good state is kept" in error
    assert RunFolder(tmp_path / "run").info["images_seen"] < 640


def test_a_state_that_is_a_pickle_is_not_opened(tmp_path: Path) -> None:
    process = begin(tmp_path / "run", "plain")
    while images_seen(tmp_path / "run") < 64:
        time.sleep(0.002)
    process.kill()
    process.communicate()
    state = tmp_path / "run" / "checkpoints" / "state.safetensors"
    state.write_bytes(b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.")
    process = begin(tmp_path / "run", "plain")
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert "is not a safetensors file" in error and "they can run code" in error
    shutil.rmtree(tmp_path / "run")
