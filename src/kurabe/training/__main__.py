"""Train one recipe in one folder: python -m kurabe.training RECIPE.toml FOLDER.

The same command goes on where it stopped. Under `accelerate launch -m kurabe.training …` several
processes share the run. Images and split are the recipe's own; nothing is measured on test.
"""

import sys
from pathlib import Path

from kurabe import data
from kurabe.errors import KurabeError
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.records.surroundings import surroundings
from kurabe.training.loop import train


def main(recipe_path: str, path: str) -> None:
    """Create the run's folder from the recipe, or go on in it."""
    folder = RunFolder(path)
    if not folder.exists:
        recipe = Recipe.from_toml(recipe_path)
        info = {"id": Path(path).name, "method": recipe.method, "seed": recipe.seed}
        folder.create(recipe.to_toml(), info | surroundings())
    recipe = Recipe.from_toml(folder.recipe_path)
    settings = recipe.data
    images = data.load(settings.source, size=settings.size, channels=settings.channels)
    split = data.split(
        images, recipe.seed, test_seed=settings.test_seed, fractions=settings.fractions
    )
    with folder.writing():
        folder.update(data_digest=images.digest)
        train(recipe, images, split, folder, print)
        folder.update(status="finished")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KurabeError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
