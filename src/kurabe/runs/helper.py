"""A process that shares another's run: it trains its part of every update, and writes nothing.

python -m kurabe.runs.helper FOLDER, begun by `kurabe.runs.processes`, which says the rest.
"""

import os
import sys
import threading
from pathlib import Path

from kurabe.errors import KurabeError, sentence
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.runs.images import kept_images, split_images
from kurabe.training import train
from kurabe.training.devices import usable


def _help(folder: RunFolder) -> None:
    """Train with the others; what is trained stays with the process that writes."""
    recipe = Recipe.from_toml(folder.recipe_path)
    usable(recipe.where.device)
    images = kept_images(recipe.data)
    train(recipe, images, split_images(images, recipe.data, recipe.seed), folder)


def _end_with_the_first() -> None:
    # Not through sys.stdin, whose lock this thread would still hold when the process ends.
    while os.read(0, 1 << 10):
        pass
    os._exit(130)


def main(path: str) -> int:
    """The exit code: 0, 1, 2, or 130 where all agreed to stop."""
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    try:
        _help(RunFolder(Path(path)))
    except KurabeError as error:
        print(sentence(error), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
