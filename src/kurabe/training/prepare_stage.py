"""What is done once, before a run's first update: images that its base draws for its terms.

They are drawn in portions, each a file of its own beside the run's state, whole or not at all, so
that a run that is killed meanwhile goes on with the next. How many passes that takes, what they
cost in images of training and the seconds stand in run.json; the files go when the run is done.
"""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from accelerate import PartialState
from numpy.typing import NDArray

from kurabe.files import write_bytes_atomic
from kurabe.objectives.term import Drawn
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.training.diffusers_parts import asking
from kurabe.training.model import Model
from kurabe.training.plan import Plan

PORTION = 32
# Samples begin a block's 2²⁰ seeds (`kurabe.evaluation.samples`); these come far behind them.
_SEEDS_PER_BLOCK, _FIRST = 1 << 20, 1 << 19

Pixels = NDArray[np.uint8]
Draw = Callable[[Recipe, Model, RunFolder, Plan], dict[Drawn, Pixels]]


def drawn_by_base(
    recipe: Recipe, model: Model, folder: RunFolder, plan: Plan
) -> dict[Drawn, Pixels]:
    """The images of each source of a plan, uint8 (N, H, W, C), as a new run's model draws them.

    model: as no update has changed it yet, so that it draws what the base draws; it samples as
    the recipe chose, but without guidance. Of several processes one draws; all read.
    """
    processes = PartialState()
    if plan.drawn and processes.is_main_process:
        passes = sum(source.evaluations * count for source, count in plan.drawn.items())
        folder.update(prepared_passes=passes, prepared_images=plan.prepared)
        for source, count in plan.drawn.items():
            for seeds, path in _portions(recipe, folder, source, count):
                if _read(path) is None:
                    _draw(replace(model, guidance=None), folder, source, seeds, path)
        model.denoiser.train()
    processes.wait_for_everyone()
    return {
        source: np.concatenate(
            [np.load(path) for _, path in _portions(recipe, folder, source, count)]
        )
        for source, count in plan.drawn.items()
    }


def let_go(folder: RunFolder) -> None:
    """Remove what was drawn."""
    for path in folder.checkpoints.glob("drawn-*.npy"):
        path.unlink(missing_ok=True)


def _portions(
    recipe: Recipe, folder: RunFolder, source: Drawn, count: int
) -> Iterator[tuple[range, Path]]:
    """The seeds of each portion, and its file."""
    start = recipe.seed * _SEEDS_PER_BLOCK + _FIRST
    for first in range(0, count, PORTION):
        seeds = range(start + first, start + min(first + PORTION, count))
        name = f"drawn-{source.count}-{source.evaluations}-{first:06d}.npy"
        yield seeds, folder.checkpoints / name


def _read(path: Path) -> Pixels | None:
    """What a file holds; None where it is missing or damaged."""
    with suppress(OSError, ValueError, EOFError):
        return np.load(path, allow_pickle=False)
    return None


def _draw(model: Model, folder: RunFolder, source: Drawn, seeds: range, path: Path) -> None:
    """One portion, and its seconds, which are seconds of training."""
    began = time.perf_counter()
    buffer = io.BytesIO()
    with asking(model.denoiser.backbone, model.network, source.prompt):
        drawn = model.sample(seeds, source.evaluations)
    np.save(buffer, drawn, allow_pickle=False)
    write_bytes_atomic(path, buffer.getvalue())
    seconds = (folder.info.get("prepared_seconds") or 0.0) + time.perf_counter() - began
    folder.update(prepared_seconds=seconds, seconds=seconds)
