"""Which distance between images deserves to be the headline: candidates on known harm.

    python bench/headline.py features COURSES CACHE [SET ...]   features of all pictures, once
    python bench/headline.py judge CACHE [CANDIDATE ...]        every candidate by the criteria
    python bench/headline.py tables CACHE                       the figures of decision 15
    python bench/headline.py publish CACHE OUT                  figures.json, shown under tables

Written down before any figure was seen. On every known data set, the distance of pictures
(`bench/harm.py`) from real test images:

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

What was made more precise once the figures were there: the sets of 28 to 64 pixels decide, since
no study is of 8×8 images, whose "shift" by half of the side is no more than that by three eighths;
and of candidates whose power lies within two standard errors of the best one's (of the difference,
over sets), the one that needs least is taken.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from courses import SEEDS, SETS
from harm import ENCODER, KINDS, PLACEHOLDERS, VIEWS, Pictures, features, layer, pooled

RANK = -0.9


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
    "energy, pixels": ((("pixels", ""),), negative_distance),
    "energy, edges": ((("edges", ""),), negative_distance),
}


CHOSEN = "energy"


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


def seen_by_samples(stored: Stored, part: Part, kernel: Kernel, draws: int = 200) -> float:
    """The step from the eighth to the tenth checkpoint over what drawing images anew changes.

    The latter is the standard deviation over random halves of the tenth's images: a half drawn
    without replacement varies about the whole as the whole does about its expectation.
    """
    vectors = stored.vectors(*part)
    real, rng = vectors["real"], np.random.default_rng(3)

    def value(x: np.ndarray) -> float:
        return within(kernel, x) - 2 * float(kernel(x, real).mean(dtype=np.float64))

    found = []
    for seed in SEEDS:
        before, after = (vectors[f"course-{seed}-{point}"] for point in (7, 9))
        n = len(after)
        halves = [value(after[rng.permutation(n)[: n // 2]]) for _ in range(draws)]
        found.append((value(before) - value(after)) / np.std(halves))
    return float(np.mean(found))


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


Figures = dict[str, dict[str, float]]


def figures(cache: Path, candidate: str) -> Figures:
    """A candidate's distances by data set."""
    parts, kernel = CANDIDATES[candidate]
    sets = [name for name in SETS if (cache / f"{name}-native.npz").exists()]
    return {name: distances(Stored(name, cache), parts, kernel) for name in sets}


def counted(found: Figures) -> dict[str, tuple[int, int]]:
    """How many checks of each kind hold, of how many."""
    every = [checks(values) for values in found.values()]
    kept = {key: [good for of in every for good in of[key]] for key in "ABCD"}
    return {key: (int(sum(of)), len(of)) for key, of in kept.items()}


def failing(found: Figures) -> list[str]:
    """The checks of severity and of placeholders that fail, by name."""
    return [
        f"{name} {what}"
        for name, values in found.items()
        for key, names in (("A", KINDS), ("B", PLACEHOLDERS))
        for what, good in zip(names, checks(values)[key], strict=True)
        if not good
    ]


def judge(cache: Path, only: list[str]) -> None:
    """Every candidate: checks held of all and of the sets that decide, power, what fails."""
    powers: dict[str, np.ndarray] = {}
    for candidate in only or CANDIDATES:
        found = figures(cache, candidate)
        decide = counted({name: of for name, of in found.items() if SETS[name] >= 28})
        held = " ".join(f"{key} {n}/{of}" for key, (n, of) in counted(found).items())
        lost = sum(of - n for n, of in decide.values())
        strength = np.array([power(values) for values in found.values()])
        if not lost:
            powers[candidate] = strength
        print(f"{candidate:20} {held}  28 to 64 pixels: {lost} failed  power {strength.mean():.2f}")
        print(f"{'':20} {'; '.join(failing(found))}", flush=True)
    best = max(powers, key=lambda candidate: powers[candidate].mean(), default="")
    print("Of those that fail nothing there:")
    for candidate, of in powers.items():
        gap = powers[best] - of
        error = gap.std(ddof=1) / len(gap) ** 0.5
        print(f"{candidate:20} power below {best}: {gap.mean():.2f} ± {error:.2f}")


def tables(cache: Path) -> None:
    """Markdown: what decision 15 shows of the chosen distance and of KID, by data set."""
    from scipy.stats import spearmanr

    for candidate in (CHOSEN, "KID"):
        print(f"\n**{candidate}**\n")
        heads = ("set", "floor", *KINDS, *PLACEHOLDERS, "course", "rank", "8 to 10")
        [part], kernel = CANDIDATES[candidate]
        print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
        for name, values in figures(cache, candidate).items():
            runs = courses_of(values)
            ranks = [spearmanr(np.arange(runs.shape[1]), run).statistic for run in runs]
            mean = runs.mean(0)[[0, 1, 3, 5, 7, 9]]
            cells = [name, short(values["train"])]
            cells += [" ".join(short(values[f"{k}-{n}"]) for n in range(1, 5)) for k in KINDS]
            cells += [short(values[key]) for key in PLACEHOLDERS]
            cells += [" ".join(map(short, mean)), short(max(ranks))]
            cells += [f"{seen_by_samples(Stored(name, cache), part, kernel):.1f}"]
            print("| " + " | ".join(cells) + " |")


def short(value: float) -> str:
    """Two digits after the point, without a leading zero; three where there is little."""
    text = f"{value:.3f}" if abs(value) < 0.1 else f"{value:.2f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def publish(cache: Path, out: Path) -> None:
    """What stands under tables: how many checks the headline holds, and KID beside it."""
    names = {"A": "severity", "B": "placeholders", "C": "course", "D": "floor"}
    found = {key: figures(cache, name) for key, name in (("distance", CHOSEN), ("kid", "KID"))}
    held = {
        key: {names[check]: of for check, of in counted(sets).items()}
        for key, sets in found.items()
    }
    rounded = {
        key: {of: {what: round(v, 5) for what, v in values.items()} for of, values in sets.items()}
        for key, sets in found.items()
    }
    shown = {"encoder": ENCODER, "sets": len(found["kid"]), **held, "figures": rounded}
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(shown, indent=1)
    (out / "figures.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    command, *words = sys.argv[1:]
    if command == "features":
        features(Path(words[0]), Path(words[1]), words[2:])
    elif command == "judge":
        judge(Path(words[0]), words[1:])
    elif command == "tables":
        tables(Path(words[0]))
    else:
        publish(Path(words[0]), Path(words[1]))
