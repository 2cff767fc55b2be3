"""How many images a second a recipe trains on here: what turns a budget in seconds into images."""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from kurabe.data import ImageSet, Split
from kurabe.recipe import Budget, Recipe
from kurabe.records import RunFolder
from kurabe.training.loop import update
from kurabe.training.model import start_model
from kurabe.training.run import prepare

SECONDS, WARM_UP = 3.0, 2


def calibrate(recipe: Recipe, images: ImageSet, seconds: float = SECONDS) -> float:
    """Images per second of this recipe's updates, from the median update in a few seconds."""
    torch.set_num_threads(recipe.where.threads)
    everything = np.arange(len(images))
    split = Split(train=everything, validation=everything[:1], test=everything[:0])
    endless = recipe.model_copy(update={"budget": Budget(images=10**9)})
    model = start_model(recipe, images.size, images.channels)
    with tempfile.TemporaryDirectory() as folder:
        run = prepare(endless, model, images, split, RunFolder(Path(folder)), lambda line: None)
        for _ in range(WARM_UP):
            update(run, run.objective)
        took: list[float] = []
        while sum(took) < seconds or len(took) < 3:
            began = time.perf_counter()
            update(run, run.objective)
            _wait(run.accelerator.device)
            took.append(time.perf_counter() - began)
    return run.plan.batch / statistics.median(took)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
