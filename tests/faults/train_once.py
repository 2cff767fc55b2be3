"""A small real run, for the tests that kill it."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from kurabe.adaptations.full import Full
from kurabe.data import ImageSet, Split
from kurabe.errors import KurabeError
from kurabe.methods.choices import Choices
from kurabe.objectives.contrastive import Contrastive
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.masked import Masked
from kurabe.objectives.prior import Prior
from kurabe.objectives.self_alignment import SelfAlignment
from kurabe.recipe import Budget, DataSettings, Network, Optimiser, Recipe
from kurabe.records import RunFolder
from kurabe.training import __main__ as command
from kurabe.training import loop, prepare_stage

OBJECTIVES = {
    "plain": (Denoising(),),
    "preconditioned": (Denoising(),),
    "masked": (Denoising(), Masked(unmask_share=0.3)),
    "prior": (Denoising(), Prior(images=9)),
    "self-alignment": (Denoising(), SelfAlignment()),
    "contrastive": (Denoising(), Contrastive(comparison_batch=4, views="crop-flip-jitter")),
}

BUDGET = 320


def main(path: Path, method: str, lr: float = 1e-3, save_every: float = 0.0) -> None:
    """Create the run's folder if needed, and train; a method that needs a base has `path`.base."""
    if method == "prior" and not (base := path.with_suffix(".base")).exists():
        main(base, "plain", save_every=save_every)
    pixels = (load_digits().images[:200] * (255 / 16)).astype(np.uint8)[..., None]
    places = np.arange(200)
    images = ImageSet("digits", pixels, tuple(map(str, places)), places)
    split = Split(train=places[:150], validation=places[150:170], test=places[170:])
    recipe = Recipe(
        method=method,
        choices=Choices(
            start="base" if method == "prior" else "random",
            adaptation=Full(),
            objective=OBJECTIVES[method],
        ),
        data=DataSettings(source="digits"),
        budget=Budget(images=BUDGET),
        base=str(path.with_suffix(".base")) if method == "prior" else None,
        network=Network(
            patch=2,
            width=32,
            depth=3,
            heads=2,
            decoder=1,
            precondition="covariance" if method == "preconditioned" else "none",
        ),
        optimiser=Optimiser(batch=16, held_out_share=0.25, patience=4, lr=lr),
    )
    loop.SAVE_EVERY, loop.SAVE_SHARE = save_every, 1.0
    # So that a kill may fall between two of the nine images that a base draws.
    prepare_stage.PORTION = 1
    folder = RunFolder(path)
    if not folder.exists:
        folder.create(recipe.to_toml(), {"id": method})
    with folder.writing():
        loop.train(recipe, images, split, folder)
        folder.update(status="finished")


def process(errors: Path, *arguments: Any) -> None:
    """What the command's process does: errors in words on stderr, and the exit code."""
    with errors.open("w") as file:
        sys.stderr = file
        try:
            main(*arguments)
        except KurabeError as error:
            print(error, file=sys.stderr)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            sys.exit(130)


def shared(rank: int, port: int, recipe: Path, path: Path, save_every: float) -> None:
    """One of two processes that share a run, as a launcher would start it."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    loop.SAVE_EVERY, loop.SAVE_SHARE = save_every, 1.0
    try:
        command.main(str(recipe), str(path))
    except KeyboardInterrupt:
        sys.exit(130)
