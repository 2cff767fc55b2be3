"""Courses of training: samples at ten points of runs from scratch, to judge a distance by.

    python bench/courses.py arrays ARRAYS          every known set's pixels, as small files
    python bench/courses.py train ARRAYS OUT [DEVICE [WORKERS]]

A distance between images deserves its name only if it falls while a model learns. So each known
data set is learned from scratch by plain denoising, three times; at ten points, IMAGES[0] times
RATIO^k images seen, the averaged weights draw `samples` images from the same starting noise. One
file a run: images_seen (10,), samples uint8 (10, N, H, W, C). `bench/headline.py` reads them.

Nothing is measured here, and no run is chosen: what is drawn is kept.
"""

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

# Known sets and the side they are learned at: grey and colour, 8 to 64 pixels.
SETS = {
    "digits": 8, "fashion-mnist": 28, "animal-mnist": 28, "openmoji-all": 32, "emoji-base": 32,
    "emoji-noto": 32, "emoji-twemoji": 32, "emoji-fluent3d": 32, "openmoji-all@64": 64,
}  # fmt: skip
SEEDS = (0, 1, 2)
LIMIT = 3000
POINTS = 10
FIRST, LAST = 625, 40_000
BATCH = 32
SAMPLES = {8: 256, 28: 128, 32: 96, 64: 40}
EVALUATIONS = 20


def images_seen() -> list[int]:
    """The ten points, whole updates, evenly spaced on a logarithmic axis."""
    points = np.geomspace(FIRST, LAST, POINTS) / BATCH
    return [round(point) * BATCH for point in points]


def arrays(out: Path) -> None:
    """At most LIMIT images of every set, drawn by the data's own seed, as OUT/NAME.npz."""
    from kurabe import data

    out.mkdir(parents=True, exist_ok=True)
    for name, size in SETS.items():
        images = data.load(name.partition("@")[0], size=size, limit=LIMIT)
        np.savez_compressed(out / f"{name}.npz", pixels=images.pixels)
        print(name, images.pixels.shape, flush=True)


def course(pixels: np.ndarray, seed: int, device: str) -> dict[str, np.ndarray]:
    """One run from scratch on uint8 (N, H, W, C), drawn from at every point."""
    import torch

    from kurabe.data import ImageSet, split
    from kurabe.methods import choices_of, find
    from kurabe.recipe import Budget, DataSettings, Network, Optimiser, Recipe, Where
    from kurabe.records import RunFolder
    from kurabe.training.loop import update
    from kurabe.training.model import start_model
    from kurabe.training.run import prepare

    count, size = pixels.shape[:2]
    images = ImageSet(
        name="course",
        pixels=pixels,
        ids=tuple(f"{i:05d}" for i in range(count)),
        groups=np.arange(count),
        labels=None,
        label_names=(),
    )
    narrow = device != "cpu" and torch.cuda.is_bf16_supported(False)
    recipe = Recipe(
        method="ddpm",
        choices=choices_of(find("ddpm")),
        data=DataSettings(source="course"),
        budget=Budget(images=LAST),
        network=Network(patch=2 if size < 16 else 4),
        optimiser=Optimiser(batch=BATCH),
        seed=seed,
        where=Where(device=device, dtype="bfloat16" if narrow else "float32"),
    )
    model = start_model(recipe, size, pixels.shape[3])
    drawn, seeds = [], range(SAMPLES[size])
    with tempfile.TemporaryDirectory() as folder:
        place = RunFolder(folder)
        run = prepare(recipe, model, images, split(images, seed), place, lambda line: None)
        for point in images_seen():
            model.denoiser.train()
            while run.training.progress.images_seen < point:
                update(run)
            with run.training.ema.applied():
                drawn.append(model.sample(seeds, EVALUATIONS, batch=len(seeds)))
    return {"images_seen": np.array(images_seen()), "samples": np.stack(drawn)}


def train(source: Path, out: Path, device: str, workers: int) -> None:
    """All courses that OUT does not have yet, `workers` processes at a time."""
    out.mkdir(parents=True, exist_ok=True)
    jobs = [(name, seed) for name in sorted(SETS, key=lambda n: -SETS[n]) for seed in SEEDS]
    jobs = [(name, seed) for name, seed in jobs if not (out / f"{name}-{seed}.npz").exists()]

    def run(job: tuple[str, int]) -> None:
        began = time.perf_counter()
        words = ["one", str(source), str(out), device, job[0], str(job[1])]
        subprocess.run([sys.executable, __file__, *words], check=True)
        print(*job, f"{time.perf_counter() - began:.0f} s", flush=True)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(run, jobs))


def main(command: str, *words: str) -> None:
    if command == "arrays":
        arrays(Path(words[0]))
    elif command == "train":
        device, workers = [*words[2:], *("cpu", "2")[len(words) - 2 :]]
        train(Path(words[0]), Path(words[1]), device, int(workers))
    else:
        source, out, device, name, seed = words
        with np.load(Path(source) / f"{name}.npz") as stored:
            made = course(stored["pixels"], int(seed), device)
        # Written beside and renamed: what has the name is whole.
        part = Path(out) / f"{name}-{seed}.part"
        with part.open("wb") as file:
            np.savez_compressed(file, **made)
        part.rename(part.with_suffix(".npz"))


if __name__ == "__main__":
    main(*sys.argv[1:])
