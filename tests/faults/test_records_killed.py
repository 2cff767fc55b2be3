"""A writer killed by SIGKILL at any instant leaves a run's folder that can be read and goes on."""

import os
import random
import signal
import subprocess
import sys
import time

from kurabe.records import Ledger, RunFolder, RunIndex, read_grid

WRITER = """
import sys
import numpy as np
from kurabe.records import Ledger, RunFolder
run = RunFolder(sys.argv[1])
if not run.exists:
    run.create("seed = 0\\n", {"id": "k", "method": "ddpm", "status": "running"})
ledger = Ledger(sys.argv[1] + "/openings.jsonl")
tiles = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)
step = run.info["images_seen"]
with run.writing():
    print("ready", flush=True)
    while True:
        step += 1
        run.append_metric({"images_seen": step, "filler": "x" * 5000})
        run.update(images_seen=step, filler="y" * (step % 7) * 3000)
        run.write_scores("test", {"metrics": {"kid": {"value": step / 1000}}, "f": "z" * 9000})
        if step % 5 == 0:
            run.write_samples(tiles, range(16), step)
            ledger.open(f"c{step}", "d")
"""


def killed_writer(path, before, seconds):
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert RunFolder(path).status == "running"
        # The first write is waited for; from there any instant is as good as another.
        while RunFolder(path).info["images_seen"] <= before:
            assert process.poll() is None
            time.sleep(0.002)
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def test_killed_in_mid_write_again_and_again(tmp_path):
    path = tmp_path / "run"
    RunFolder(path).create("seed = 0\n", {"id": "k", "method": "ddpm", "status": "running"})
    chance = random.Random(0)
    for _ in range(6):
        before = RunFolder(path).info["images_seen"]
        killed_writer(path, before, 0.25 * chance.random())
        run = RunFolder(path)
        seen = run.info["images_seen"]
        assert run.status == "interrupted"
        assert seen > before
        # The metric of a step is written before run.json tells of the step.
        steps = [line["images_seen"] for line in run.metrics()]
        assert steps[-1] in (seen, seen + 1)
        assert {len(line["filler"]) for line in run.metrics()} == {5000}
        assert run.scores()["test"]["metrics"]["kid"]["value"] * 1000 in (seen - 1, seen, seen + 1)
        assert all(read_grid(grid).tiles.shape == (16, 32, 32, 3) for grid in run.sample_grids())
        assert len(Ledger(path / "openings.jsonl").entries()) <= seen // 5 + 1
        RunIndex(tmp_path).refresh()
        run.truncate_metrics(seen)
        assert run.metrics()[-1]["images_seen"] == seen


def test_the_smallest_torn_files_are_read_too(tmp_path):
    run = RunFolder(tmp_path / "run").create("seed = 0\n", {"id": "k", "method": "ddpm"})
    whole = b'{"images_seen": 32, "loss": 0.5}\n'
    for cut in range(len(whole)):
        run.metrics_path.write_bytes(whole + whole[:cut])
        assert run.metrics() == [{"images_seen": 32, "loss": 0.5}]
        run.append_metric({"images_seen": 64})
        assert [line["images_seen"] for line in run.metrics()] == [32, 64]
