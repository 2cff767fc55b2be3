"""Which distance between images deserves to be the headline: candidates on known harm.

    python bench/headline.py features COURSES CACHE [SET ...]   features of all pictures, once
    python bench/headline.py judge COURSES CACHE                every candidate by the criteria

Written down before any figure was seen. On every known data set, the distance of pictures from real
test images:

A. **Severity**: rises with grain, blur, shifts, missing parts and blending, four severities each of
   the same 100 training images: no step falls by more than the distance's own standard error
   between real and real. 5 checks a set.
B. **Placeholders**: a white, a black, a mean image and pure noise are worse than every checkpoint
   past the first of the set's three courses (`bench/courses.py`). 4 checks a set.
C. **Course**: Spearman's correlation with images seen is at most -.9 along each course. 3 checks.
D. **Floor**: training against test images lies within three standard errors of 0. 1 check.

The candidate with the fewest failed checks is taken; among equals the one with most power: the mean
step between neighbouring points of a course over the standard deviation of the three runs at one
point, mean over sets. No compared method, base or target of a study has a say.
"""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from courses import LIMIT, SEEDS, SETS

Pictures = dict[str, np.ndarray]

COPIES = 100
REAL = 300
POINTS_OF = 96
GRAIN = (0.05, 0.1, 0.2, 0.4)
BLUR = (0.03, 0.06, 0.12, 0.24)
SHIFT = (0.03, 0.06, 0.12, 0.25)
MISSING = (0.125, 0.25, 0.5, 0.75)
BLEND = (0.1, 0.2, 0.35, 0.5)
KINDS = ("grain", "blur", "shift", "missing", "blend")
PLACEHOLDERS = ("white", "black", "mean", "noise")
RANK = -0.9
VIEWS = {"native": 1, "half": 2, "quarter": 4}


# Pictures.


def pictures(name: str, courses: Path) -> Pictures:
    """Every set of pictures of a data set, uint8 (N, H, W, C), by name."""
    from kurabe import data
    from kurabe.data import ImageSet, split

    pixels = data.load(name.partition("@")[0], size=SETS[name], limit=LIMIT).pixels
    count = len(pixels)
    ids = tuple(f"{i:05d}" for i in range(count))
    images = ImageSet("course", pixels, ids, np.arange(count), None, ())
    parts = split(images, 0)
    rng = np.random.default_rng(0)
    train = pixels[rng.permutation(parts.train)[: max(REAL, 2 * COPIES)]]
    made = {"real": pixels[rng.permutation(parts.test)[:REAL]], "train": train[:REAL]}
    made |= corrupted(train[:COPIES] / 255, train[COPIES : 2 * COPIES] / 255, train)
    shape = (COPIES, *pixels.shape[1:])
    made |= {
        "white": np.full(shape, 255, np.uint8),
        "black": np.zeros(shape, np.uint8),
        "mean": np.broadcast_to(to_bytes(pixels[parts.train].mean(0) / 255), shape),
        "noise": rng.integers(0, 256, shape, dtype=np.uint8),
    }
    for seed in SEEDS:
        with np.load(courses / f"{name}-{seed}.npz") as stored:
            for point, samples in enumerate(stored["samples"]):
                made[f"course-{seed}-{point}"] = samples[:POINTS_OF]
    return made


def to_bytes(x: np.ndarray) -> np.ndarray:
    """[0, 1] to uint8."""
    return np.round(np.clip(x, 0, 1) * 255).astype(np.uint8)


def corrupted(x: np.ndarray, other: np.ndarray, train: np.ndarray) -> Pictures:
    """Four severities of every kind, of images (N, H, W, C) in [0, 1]; "clean-0" is none."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(1)
    size = x.shape[1]
    noise = rng.standard_normal(x.shape)
    signs = rng.choice((-1, 1), (len(x), 2))
    border = np.concatenate([train[:, 0], train[:, -1], train[:, :, 0], train[:, :, -1]], 1)
    paper = np.median(border, axis=(0, 1)) / 255
    made: Pictures = {"clean-0": to_bytes(x)}
    for level in range(4):
        sd = BLUR[level] * size
        far = max(level + 1, round(SHIFT[level] * size))
        moved = [np.roll(image, far * sign, (0, 1)) for image, sign in zip(x, signs, strict=True)]
        torn = x.copy()
        torn[:, size - round(MISSING[level] * size) :] = paper
        share = BLEND[level]
        for kind, of in (
            ("grain", x + GRAIN[level] * noise),
            ("blur", gaussian_filter(x, (0, sd, sd, 0), mode="nearest")),
            ("shift", np.stack(moved)),
            ("missing", torn),
            ("blend", (1 - share) * x + share * other),
        ):
            made[f"{kind}-{level + 1}"] = to_bytes(of)
    return made


# Features.


def layered_encoder():
    """The encoder with four of its layers, each pooled to 2×2 cells, beside one another."""
    import torch
    import torch.nn.functional as F

    from kurabe.evaluation.encoders import NetworkEncoder, load_encoder

    plain = load_encoder("efficientnet-lite0")
    network = inspect.getclosurevars(plain.network).nonlocals["network"]
    seen: list[torch.Tensor] = []
    for block in (4, 10, 15):
        network._blocks[block].register_forward_hook(lambda m, i, out: seen.append(out))

    def layers(x: torch.Tensor) -> torch.Tensor:
        seen.clear()
        final = network.extract_features(x)
        return torch.cat([F.adaptive_avg_pool2d(of, 2).flatten(1) for of in (*seen, final)], 1)

    dim = 4 * sum(LAYERS.values())
    mean, scale = (127.0,) * 3, (128.0,) * 3
    return NetworkEncoder("layers", "layers", layers, dim, size=128, mean=mean, scale=scale,
                          device=torch.device("cpu"))  # fmt: skip


LAYERS = {"b4": 40, "b10": 112, "b15": 320, "top": 1280}


def features(courses: Path, cache: Path, names: list[str]) -> None:
    """CACHE/SET-VIEW.npz: float16 features of every set of pictures, one row an image."""
    import torch

    torch.set_num_threads(1)
    cache.mkdir(parents=True, exist_ok=True)
    encoder = layered_encoder()
    for view, factor in VIEWS.items():
        for name in names or list(SETS):
            path = cache / f"{name}-{view}.npz"
            if path.exists():
                continue
            made = {
                of: encoder.encode(smoothed(x[:1] if of in PLACEHOLDERS[:3] else x, factor))
                for of, x in pictures(name, courses).items()
            }
            if factor > 1:
                made = {of: pooled(x, "top") for of, x in made.items()}
            with path.open("wb") as file:
                np.savez(file, **{of: x.astype(np.float16) for of, x in made.items()})
            print(path.name, flush=True)


def smoothed(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Images shrunk by a factor, smoothed as they should be; what is finer is not there."""
    if factor == 1:
        return pixels
    import torch
    import torch.nn.functional as F

    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()
    size = pixels.shape[1] // factor
    x = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
    return x.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def layer(x: np.ndarray, name: str) -> np.ndarray:
    """One layer's cells of the stored row, (N, channels, 4)."""
    start = 0
    for of, channels in LAYERS.items():
        if of == name:
            return x[:, start : start + 4 * channels].reshape(len(x), channels, 4)
        start += 4 * channels
    raise KeyError(name)


def pooled(x: np.ndarray, name: str) -> np.ndarray:
    """A layer's mean over the image, (N, channels)."""
    return layer(x, name).mean(2)


# Candidates: squared maximum mean discrepancies (Gretton et al. 2012, eq. 3) by kernel.


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)


Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


def kid_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x·y / D + 1)³, on features as they are."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The same with vectors of length √D: (cos + 1)³."""
    return (x @ y.T + 1) ** 3


def linear(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """cos: the distance of the means."""
    return x @ y.T


def negative_distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """-‖x − y‖ of unit vectors: the energy distance (Székely & Rizzo 2013)."""
    return -np.sqrt(np.clip(2 - 2 * x @ y.T, 0, None))


def gaussian(*widths: float) -> Kernel:
    """The mean of exp(-‖x − y‖² / (2 w²)) over widths, of unit vectors."""

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        gap = np.clip(1 - x @ y.T, 0, None)
        return sum(np.exp(-gap / width**2) for width in widths) / len(widths)

    return kernel


# A part is a view and how its features become vectors.
Part = tuple[str, str]
TOP: tuple[Part, ...] = (("native", "top"),)
SCALES: tuple[Part, ...] = (*TOP, ("half", "top"), ("quarter", "top"))
LAYERED: tuple[Part, ...] = (*TOP, ("native", "b15"), ("native", "b10"), ("native", "b4"))
ALL_WIDTHS = gaussian(0.25, 0.5, 1.0)
CANDIDATES: dict[str, tuple[tuple[Part, ...], Kernel]] = {
    "KID": ((("native", "raw"),), kid_kernel),
    "cubic": (TOP, cubic),
    "linear": (TOP, linear),
    "energy": (TOP, negative_distance),
    "gaussian .25": (TOP, gaussian(0.25)),
    "gaussian .5": (TOP, gaussian(0.5)),
    "gaussian 1": (TOP, gaussian(1.0)),
    "gaussians": (TOP, ALL_WIDTHS),
    "cubic, cells": ((("native", "top cells"),), cubic),
    "gaussian .5, cells": ((("native", "top cells"),), gaussian(0.5)),
    "energy, cells": ((("native", "top cells"),), negative_distance),
    "cubic, block 15": ((("native", "b15"),), cubic),
    "cubic, block 10": ((("native", "b10"),), cubic),
    "cubic, block 4": ((("native", "b4"),), cubic),
    "cubic, layers": (LAYERED, cubic),
    "gaussian .5, layers": (LAYERED, gaussian(0.5)),
    "cubic, roots": ((("native", "root"),), cubic),
    "cubic, centred": ((("native", "centred"),), cubic),
    "energy, centred": ((("native", "centred"),), negative_distance),
    "cubic, scales": (SCALES, cubic),
    "gaussian .5, scales": (SCALES, gaussian(0.5)),
    "energy, scales": (SCALES, negative_distance),
}


class Stored:
    """A data set's cached features, by view and as vectors of a kind."""

    def __init__(self, name: str, cache: Path) -> None:
        self.views = {}
        for view in VIEWS:
            if (path := cache / f"{name}-{view}.npz").exists():
                with np.load(path) as stored:
                    self.views[view] = {of: x.astype(np.float32) for of, x in stored.items()}
        self.names = list(self.views["native"])

    def vectors(self, view: str, kind: str) -> Pictures:
        """Every set of pictures as rows to put into a kernel."""
        of = self.views[view]
        if view != "native":
            return {key: unit(x) for key, x in of.items()}
        if kind == "raw":
            return {key: pooled(x, "top") for key, x in of.items()}
        if kind == "centred":
            mean = pooled(of["train"], "top").mean(0)
            return {key: unit(pooled(x, "top") - mean) for key, x in of.items()}
        if kind == "root":
            return {key: unit(np.sqrt(np.maximum(pooled(x, "top"), 0))) for key, x in of.items()}
        if kind.endswith(" cells"):
            cells = kind.removesuffix(" cells")
            return {key: unit(layer(x, cells).reshape(len(x), -1)) for key, x in of.items()}
        return {key: unit(pooled(x, kind)) for key, x in of.items()}


def within(kernel: Kernel, x: np.ndarray) -> float:
    """The mean of k over pairs of different rows; one row stands for its copies."""
    k = kernel(x, x).astype(np.float64)
    n = len(x)
    return float(k[0, 0]) if n == 1 else float((k.sum() - k.trace()) / (n * (n - 1)))


def distances(stored: Stored, parts: tuple[Part, ...], kernel: Kernel) -> dict[str, float]:
    """Each set of pictures against the real ones, and "error", that of real against real."""
    found: dict[str, list[float]] = {}
    for part in parts:
        vectors = stored.vectors(*part)
        real = vectors["real"]
        own = within(kernel, real)
        for name in stored.names:
            x = vectors[name]
            value = within(kernel, x) + own - 2 * float(kernel(x, real).mean(dtype=np.float64))
            found.setdefault(name, []).append(value)
        found.setdefault("error", []).append(chance(kernel, vectors["train"], real))
    return {name: float(np.mean(values)) for name, values in found.items()}


def chance(kernel: Kernel, x: np.ndarray, y: np.ndarray, draws: int = 100) -> float:
    """Standard deviation of the distance between two random halves of two real sets together."""
    both = np.concatenate([x, y])
    k = kernel(both, both).astype(np.float64)
    n, m, diagonal = len(x), len(y), k.diagonal()
    rng = np.random.default_rng(2)
    values = []
    for _ in range(draws):
        s = np.zeros(n + m)
        s[rng.permutation(n + m)[:n]] = 1
        seen = k @ s
        xx, xy = s @ seen, (1 - s) @ seen
        yy = k.sum() - xx - 2 * xy
        values.append(
            (xx - diagonal @ s) / (n * (n - 1))
            + (yy - diagonal @ (1 - s)) / (m * (m - 1))
            - 2 * xy / (n * m)
        )
    return float(np.std(values))


# The criteria.


def courses_of(values: dict[str, float]) -> np.ndarray:
    """Distances (runs, points) along the courses."""
    points = sum(name.startswith("course-0-") for name in values)
    return np.array([[values[f"course-{s}-{p}"] for p in range(points)] for s in SEEDS])


def checks(values: dict[str, float]) -> dict[str, list[bool]]:
    """A, B, C and D of one data set."""
    from scipy.stats import spearmanr

    runs, error = courses_of(values), values["error"]
    severity = [
        all(
            values[f"{kind}-{level}"]
            >= values["clean-0" if level == 1 else f"{kind}-{level - 1}"] - error
            for level in range(1, 5)
        )
        for kind in KINDS
    ]
    order = np.arange(runs.shape[1])
    return {
        "A": severity,
        "B": [values[name] > runs[:, 1:].max() for name in PLACEHOLDERS],
        "C": [float(spearmanr(order, run).statistic) <= RANK for run in runs],
        "D": [abs(values["train"]) <= 3 * error],
    }


def power(values: dict[str, float]) -> float:
    """The mean step between points over the spread of runs at one point."""
    runs = courses_of(values)
    spread = np.sqrt(runs.var(0, ddof=1).mean())
    return float((runs[:, :-1] - runs[:, 1:]).mean() / spread)


def judge(cache: Path, only: list[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Every candidate's distances, by candidate and data set; prints what fails."""
    sets = [name for name in SETS if (cache / f"{name}-native.npz").exists()]
    stored = {name: Stored(name, cache) for name in sets}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for candidate, (parts, kernel) in CANDIDATES.items():
        if only and candidate not in only:
            continue
        usable = [n for n in sets if all(view in stored[n].views for view, _ in parts)]
        found[candidate] = {n: distances(stored[n], parts, kernel) for n in usable}
        failed = dict.fromkeys("ABCD", 0)
        where = []
        for name, values in found[candidate].items():
            for key, of in checks(values).items():
                failed[key] += of.count(False)
                if False in of and key != "C":
                    what = KINDS if key == "A" else PLACEHOLDERS
                    where += [f"{name} {w}" for w, good in zip(what, of, strict=True) if not good]
        strength = np.mean([power(values) for values in found[candidate].values()])
        count = f"sets {len(usable)} failed {sum(failed.values()):3} {failed}"
        print(f"{candidate:22} {count} power {strength:.2f}")
        print("      ", "; ".join(where), flush=True)
    return found


if __name__ == "__main__":
    command, courses, cache, *rest = sys.argv[1:]
    if command == "features":
        features(Path(courses), Path(cache), rest)
    else:
        judge(Path(cache), rest)
