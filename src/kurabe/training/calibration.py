"""How many images a second recipes train on here: what turns a budget in seconds into images.

Recipes take turns, a fraction of a second each, and are compared within a round of turns, so that a
machine that slows down or speeds up meanwhile does it to all of them alike. A run may have
stretches whose updates cost differently, as where hidden tokens are shown at the end: each is
measured, and with its share w of the run and s seconds an image there, the rate is 1 / Σ w s.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from kurabe.data import ImageSet, Split
from kurabe.recipe import Budget, Recipe
from kurabe.records import RunFolder
from kurabe.training.conditions import classes_of
from kurabe.training.devices import compute_as
from kurabe.training.loop import update
from kurabe.training.model import start_model
from kurabe.training.run import Run, prepare

SECONDS, SLICE, WARM_UP = 3.0, 0.25, 2
FEWEST_ROUNDS = 4
# Points of a run at which is looked whether its streams have changed.
POINTS = 200


@dataclass
class Stretch:
    """Part of a run with the same streams throughout: its share of the run, and a point in it.

    per_image: seconds an image took, once for each turn.
    """

    share: float
    point: float
    per_image: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Measured:
    """Images per second of a recipe's updates, and the bytes that its run keeps of its weights."""

    rate: float
    kept_bytes: int


def calibrate(
    recipes: Mapping[str, Recipe], images: ImageSet, seconds: float = SECONDS
) -> dict[str, Measured]:
    """What each recipe's run needs, its speed from `seconds` of each in small turns."""
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            key: _prepared(recipe, images, RunFolder(Path(folder) / str(place)))
            for place, (key, recipe) in enumerate(recipes.items())
        }
        parts = {key: stretches(run) for key, run in runs.items()}
        turns = [(runs[key], stretch) for key, of in parts.items() for stretch in of]
        for run, stretch in turns:
            for _ in range(WARM_UP):
                _turn(run, stretch, 0.0)
            stretch.per_image.clear()
        for _ in range(max(FEWEST_ROUNDS, round(seconds / SLICE))):
            for run, stretch in turns:
                _turn(run, stretch, SLICE * stretch.share)
    found = iter(_seconds([stretch.per_image for _, stretch in turns]))
    rates = {key: 1 / sum(part.share * next(found) for part in of) for key, of in parts.items()}
    return {key: Measured(rate, _kept_bytes(runs[key])) for key, rate in rates.items()}


def _kept_bytes(run: Run) -> int:
    return sum(t.numel() * t.element_size() for t in run.model.adaptation.state().values())


def _seconds(per_image: Sequence[Sequence[float]]) -> list[float]:
    """Seconds an image of each stretch, from its turns (stretches, rounds).

    Within a round a stretch is compared with the round's geometric mean; the middle half of these
    ratios counts, so that a turn in which something else ran does not. The level that all share is
    the mean over rounds.
    """
    logs = np.log(per_image)
    rounds = logs.mean(0)
    apart = np.sort(logs - rounds, axis=1)
    cut = len(rounds) // 4
    ratios = np.exp(apart[:, cut : len(rounds) - cut].mean(axis=1))
    return [float(ratio * np.exp(rounds).mean()) for ratio in ratios]


def stretches(run: Run) -> list[Stretch]:
    """The parts of a run in which its objective asks for the same, in order."""
    found: dict[object, list[float]] = {}
    for place in range(POINTS):
        progress = (place + 0.5) / POINTS
        asked = run.objective.streams(progress), run.objective.on(progress)
        found.setdefault(asked, []).append(progress)
    return [Stretch(len(at) / POINTS, at[len(at) // 2]) for at in found.values()]


def _prepared(recipe: Recipe, images: ImageSet, folder: RunFolder) -> Run:
    compute_as(recipe.where)
    everything = np.arange(len(images))
    split = Split(train=everything, validation=everything[:1], test=everything[:0])
    endless = recipe.model_copy(update={"budget": Budget(images=10**9)})
    classes = classes_of(recipe, images, split)
    model = start_model(recipe, images.size, images.channels, classes)
    run = prepare(
        endless,
        model,
        images,
        split,
        folder,
        lambda line: None,
        # Instead of what a base would draw: as fast to train on.
        lambda recipe, model, folder, plan: dict.fromkeys(plan.drawn, images.pixels),
    )
    model.denoiser.train()
    return run


def _turn(run: Run, stretch: Stretch, seconds: float) -> None:
    """At least one update inside the stretch, and as many as the seconds hold."""
    progress, batch = run.training.progress, run.plan.batch
    progress.updates = round(stretch.point * run.plan.updates)
    progress.images_seen = progress.updates * batch
    count, began = 0, time.perf_counter()
    # Processes that share updates must make as many of them.
    while count == 0 or run.agreed(time.perf_counter() - began < seconds)[0]:
        update(run)
        _wait(run.accelerator.device)
        count += 1
    stretch.per_image.append((time.perf_counter() - began) / (count * batch))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
