"""Train one recipe in one folder: python -m kurabe.training RECIPE.toml FOLDER.

The same command goes on where it stopped. Several processes share a run under `accelerate launch
-m kurabe.training …` on GPUs, or `torchrun --nproc-per-node 2 -m kurabe.training …` on CPUs, where
`accelerate launch --cpu` starts one process only unless MPI is there. The main process alone
creates the folder, holds its lock and writes. Images and split are the recipe's own; nothing is
measured on test.
"""

import sys
from contextlib import nullcontext
from pathlib import Path

from accelerate import PartialState

from kurabe import data
from kurabe.errors import KurabeError, UserError
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.records.surroundings import surroundings
from kurabe.training.loop import train


def main(recipe_path: str, path: str) -> None:
    """Create the run's folder from the recipe, or go on in it."""
    folder = RunFolder(path)
    recipe = Recipe.from_toml(folder.recipe_path if folder.exists else recipe_path)
    if recipe.budget.images is None:
        raise UserError(
            "A run of several processes needs its budget in images: [budget] images = 20000. "
            "`kurabe fit` turns seconds into images."
        )
    processes = PartialState(cpu=recipe.where.device == "cpu")
    writes = processes.is_main_process
    if writes and not folder.exists:
        info = {"id": Path(path).name, "method": recipe.method, "seed": recipe.seed}
        folder.create(recipe.to_toml(), info | surroundings())
    settings = recipe.data
    with folder.writing() if writes else nullcontext():
        # What must be fetched and decoded first, the main process fetches and decodes for all.
        with processes.main_process_first():
            images = data.load(
                settings.source,
                size=settings.size,
                channels=settings.channels,
                limit=settings.limit,
                seed=settings.test_seed,
            ).by_content()
        split = data.split(
            images, recipe.seed, test_seed=settings.test_seed, fractions=settings.fractions
        )
        if writes:
            folder.update(
                data_digest=images.digest,
                labels_digest=images.labels_digest,
                images_known_by="content",
            )
        train(recipe, images, split, folder, print)
        if writes:
            folder.update(status="finished")


if __name__ == "__main__":
    try:
        if len(sys.argv) != 3:
            raise UserError("Usage: python -m kurabe.training RECIPE.toml FOLDER")
        main(*sys.argv[1:])
    except KurabeError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
