"""One run on two processes (torch.distributed, gloo): the weights of one, and kills survived."""

import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import pytest
from safetensors.torch import load_file
from train_once import shared

from kurabe.adaptations.full import Full
from kurabe.methods.choices import Choices
from kurabe.methods.settings import TermChoice
from kurabe.objectives.contrastive import Contrastive
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.dispersive import Dispersive
from kurabe.objectives.masked import Masked
from kurabe.recipe import Budget, DataSettings, Evaluation, Network, Optimiser, Recipe
from kurabe.records import RunFolder
from kurabe.training.model import start_model

pytestmark = pytest.mark.slow

PATIENCE = 300
BUDGET = 640
# Between numbers of processes only the order of sums differs. Weights are at most about 1; after
# 20 updates of AdamW, whose first steps have a size whatever the gradient's, 1e-6 was seen.
TOLERANCE = 1e-5

OBJECTIVES: dict[str, tuple[tuple[TermChoice, ...], int | None]] = {
    # With accumulation: four micro-batches of one process, two of two.
    "plain": ((Denoising(),), 8),
    # Eight images are compared, four in each process.
    "contrastive": ((Denoising(), Contrastive(comparison_batch=8)), None),
    "dispersive": ((Denoising(), Dispersive(comparison_batch=16)), None),
    # Head and mask token rest in the last third, when all tokens are seen.
    "masked": ((Denoising(), Masked(unmask_share=0.3)), None),
}


def write_recipe(path: Path, method: str) -> Recipe:
    terms, micro_batch = OBJECTIVES[method]
    recipe = Recipe(
        method="ddpm",
        choices=Choices(start="random", adaptation=Full(), objective=terms),
        data=DataSettings(source="digits"),
        budget=Budget(images=BUDGET),
        network=Network(patch=2, width=32, depth=3, heads=2, decoder=1),
        evaluation=Evaluation(loss_images=20),
        optimiser=Optimiser(batch=32, micro_batch=micro_batch, held_out_share=0.25, patience=4),
    )
    path.write_text(recipe.to_toml())
    return recipe


@pytest.fixture(scope="module")
def context() -> Iterator[ForkServerContext]:
    """Forks of a server that has imported torch, as in test_resume."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["train_once", "torch._dynamo"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        yield made


def begin(
    context: ForkServerContext, recipe: Path, folder: Path, save_every: float
) -> list[ForkServerProcess]:
    """The two processes that torchrun would start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        context.Process(target=shared, args=(rank, port, recipe, folder, save_every))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    return processes


def ended(processes: list[ForkServerProcess]) -> list[int | None]:
    for process in processes:
        process.join(PATIENCE)
    return [process.exitcode for process in processes]


def images_seen(folder: Path) -> int:
    return RunFolder(folder).info["images_seen"] if RunFolder(folder).exists else 0


def told(folder: Path) -> list[dict[str, object]]:
    return [
        {key: value for key, value in line.items() if key != "seconds"}
        for line in RunFolder(folder).metrics()
    ]


def numbers(line: dict[str, object]) -> list[float]:
    """All numbers of a line, those in lists and tables too."""
    found: list[float] = []
    rest: list[object] = [line]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)
        elif isinstance(value, int | float):
            found.append(value)
    return found


@pytest.mark.parametrize("method", OBJECTIVES)
def test_two_processes_train_what_one_trains(tmp_path: Path, method: str) -> None:
    recipe = write_recipe(tmp_path / "recipe.toml", method)
    module = ["-m", "kurabe.training", str(tmp_path / "recipe.toml")]
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for folder, command in {"one": module, "two": several + module}.items():
        subprocess.run(
            [sys.executable, *command, str(tmp_path / folder)],
            env=environment,
            check=True,
            capture_output=True,
            timeout=PATIENCE,
        )
    one, two = (
        load_file(tmp_path / folder / "checkpoints" / "model.safetensors")
        for folder in ("one", "two")
    )
    assert one.keys() == two.keys()
    differences = [float((one[name] - two[name]).abs().max()) for name in one]
    assert max(differences) < TOLERANCE
    if method != "plain":
        # Were the second process idle, or both to compute everything, the sums would be the same.
        assert max(differences) > 0
    state = start_model(recipe, 8, 1).adaptation.state()
    start = {name: weight.detach() for name, weight in state.items()}
    assert max(float((one[name] - start[name]).abs().max()) for name in one) > 1e-2
    lines = told(tmp_path / "one"), told(tmp_path / "two")
    assert [line.keys() for line in lines[0]] == [line.keys() for line in lines[1]]
    for alone, together in zip(*lines, strict=True):
        # Cosines of gradients that nearly cancel keep fewer digits than losses.
        assert numbers(together) == pytest.approx(numbers(alone), rel=1e-5, abs=1e-4)


def test_killed_on_two_processes_goes_on(tmp_path: Path, context: ForkServerContext) -> None:
    recipe, killed = tmp_path / "recipe.toml", tmp_path / "killed"
    write_recipe(recipe, "contrastive")
    assert ended(begin(context, recipe, tmp_path / "whole", PATIENCE)) == [0, 0]
    draw = random.Random(0)
    seen: list[int] = []
    # The writer, its helper, and both at once.
    for victims in ((0,), (1,), (0, 1)):
        processes = begin(context, recipe, killed, 0.0)
        given_up, goal = time.monotonic() + PATIENCE, images_seen(killed) + 64
        while images_seen(killed) < goal and all(process.is_alive() for process in processes):
            assert time.monotonic() < given_up
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.05))
        for victim in victims:
            processes[victim].kill()
        codes = ended(processes)
        # One that is left alone ends by itself, and never as if all were done.
        assert all(codes[victim] == -signal.SIGKILL for victim in victims)
        assert 0 not in codes and None not in codes
        assert RunFolder(killed).status == "interrupted"
        seen.append(images_seen(killed))
    assert seen == sorted(seen) and seen[0] > 0 and seen[-1] < BUDGET
    assert ended(begin(context, recipe, killed, PATIENCE)) == [0, 0]
    assert RunFolder(killed).status == "finished"
    weights = [(tmp_path / f / "checkpoints" / "model.safetensors") for f in ("whole", "killed")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert told(killed) == told(tmp_path / "whole")


def test_ctrl_c_stops_both_with_the_state_saved(tmp_path: Path, context: ForkServerContext) -> None:
    recipe, folder = tmp_path / "recipe.toml", tmp_path / "run"
    write_recipe(recipe, "plain")
    processes = begin(context, recipe, folder, PATIENCE)
    given_up = time.monotonic() + PATIENCE
    while not (RunFolder(folder).exists and RunFolder(folder).metrics()):
        assert time.monotonic() < given_up and all(process.is_alive() for process in processes)
        time.sleep(0.002)
    # The signal reaches the helper alone; the two agree on the update to stop after.
    assert processes[1].pid is not None
    os.kill(processes[1].pid, signal.SIGINT)
    assert ended(processes) == [130, 130]
    assert 0 < images_seen(folder) < BUDGET
    assert ended(begin(context, recipe, folder, PATIENCE)) == [0, 0]
    assert images_seen(folder) == BUDGET
