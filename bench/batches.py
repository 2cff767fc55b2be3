"""How fast batches are drawn, and what memory training takes: python bench/batches.py.

Held to (issue "open house"), on an idle machine: at 32×32 at least 20,000 images a second, drawn
ahead by two threads; 100,000 images of 64×64 train in less than 2 GiB. Of plain images, their noise
and times, in batches of 64; the best of five counts, since other work can only add to it. The
memory is the most that a process held from its start through reading the images from the cache,
splitting them, training for some updates and drawing an epoch of batches, what is mapped into
memory included. Exit code 1 where a bar is missed.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kurabe.data import ImageSet, split
from kurabe.data.cache import cached
from kurabe.methods import choices_of, find
from kurabe.objectives.term import Batch, Stream
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.training import train
from kurabe.training.batches import Source
from kurabe.training.prefetch import Ahead

RATE, ROUNDS, BATCH, BATCHES = 20_000, 5, 64, 100
MEMORY, IMAGES, SIZE = 2 << 30, 100_000, 64
KEY = {"bench": "batches", "images": IMAGES, "size": SIZE}


def rate(draw: Callable[[Stream, int, int], Batch]) -> float:
    """Images a second of windows in order."""
    best = 0.0
    for turn in range(ROUNDS):
        began = time.perf_counter()
        for window in range(turn * BATCHES, (turn + 1) * BATCHES):
            draw(Stream("images"), window * BATCH, BATCH)
        best = max(best, BATCHES * BATCH / (time.perf_counter() - began))
    return best


def rates() -> bool:
    """Print images a second by one thread and by two ahead of it; whether the bar is met."""
    pixels = np.random.default_rng(0).integers(0, 256, (4096, 32, 32, 3), np.uint8)
    source = Source(pixels, 0, 64, "cpu")
    alone, ahead = rate(source.batch), rate(Ahead(source.batch).batch)
    met = ahead >= RATE
    print(f"one thread {alone:,.0f} images/s, two ahead {ahead:,.0f}")
    print(f"at least {RATE:,} with two: {'yes' if met else 'NO'}")
    return met


def drawn() -> ImageSet:
    """Images of random values, each of its own group."""
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, SIZE, SIZE, 3), np.uint8)
    return ImageSet("random", pixels, tuple(map(str, range(IMAGES))), np.arange(IMAGES))


def missing() -> ImageSet:
    """What the cache should have had."""
    raise FileNotFoundError("the images are not in the cache")


def trained(folder: Path) -> int:
    """Train on the images in the cache; the most bytes that this process held."""
    images = cached(KEY, missing).by_content()
    settings = {
        "method": "ddpm",
        "choices": choices_of(find("ddpm")).model_dump(mode="json"),
        "data": {"source": "random", "size": SIZE},
        "budget": {"images": 512},
        "network": {"patch": 8},
        "optimiser": {"batch": 32, "held_out_share": 1.0},
        "evaluation": {"loss_images": 64},
    }
    recipe = Recipe.checked(settings, "bench")
    run = RunFolder(folder).create(recipe.to_toml(), {"id": "bench"})
    parts = split(images, 0)
    train(recipe, images, parts, run)
    # Training is too short to meet every image; batches are not.
    source = Source(images.pixels, 0, 64, "cpu", places=parts.train)
    for first in range(0, len(parts.train), BATCH):
        source.batch(Stream("images"), first, BATCH)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory() -> bool:
    """Print what training takes, in a process of its own; whether the bar is met."""
    with tempfile.TemporaryDirectory() as place:
        given = os.environ | {"KURABE_CACHE": place, "OMP_NUM_THREADS": "1"}
        for part in ("fill", "train"):
            command = [sys.executable, __file__, part, str(Path(place) / "run")]
            done = subprocess.run(command, env=given, check=True, stdout=subprocess.PIPE, text=True)
    held = int(done.stdout)
    print(f"{IMAGES:,} images of {SIZE}×{SIZE}: {held / 2**30:.2f} GiB", end=" ")
    print(f"({IMAGES * SIZE * SIZE * 3 / 2**30:.2f} of them the pixels)")
    print(f"less than {MEMORY / 2**30:.0f} GiB: {'yes' if held < MEMORY else 'NO'}")
    return held < MEMORY


def main() -> int:
    """Both bars, or a part of the second in a process of its own."""
    if sys.argv[1:2] == ["fill"]:
        cached(KEY, drawn)
        return 0
    if sys.argv[1:2] == ["train"]:
        print(trained(Path(sys.argv[2])))
        return 0
    return 0 if all([rates(), memory()]) else 1


if __name__ == "__main__":
    sys.exit(main())
