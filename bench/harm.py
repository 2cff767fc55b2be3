"""Pictures that are known to be worse than others, and their features.

What `bench/headline.py` measures distances of, for each of the known sets of `bench/courses.py`:
uint8 images (N, H, W, C) by name. "real" are test images, "train" and what is made of them training
images; severities are on values in [0, 1] and in shares of the image's side.
"""

import inspect
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
ENCODER = "efficientnet-lite0"
VIEWS = ("native", "half", "quarter", "pixels", "edges")


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
        "mean": to_bytes(np.tile(pixels[parts.train].mean(0) / 255, (COPIES, 1, 1, 1))),
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

    from kurabe.encoders import load_encoder
    from kurabe.encoders.networks import NetworkEncoder

    plain = load_encoder(ENCODER)
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
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "native": encoder.encode,
        "half": lambda x: pooled(encoder.encode(smoothed(x, 2)), "top"),
        "quarter": lambda x: pooled(encoder.encode(smoothed(x, 4)), "top"),
        "pixels": lambda x: x.reshape(len(x), -1) / 255,
        "edges": edges,
    }
    for view in VIEWS:
        for name in names or list(SETS):
            path = cache / f"{name}-{view}.npz"
            if path.exists():
                continue
            made = {
                of: ways[view](x[:1] if of in PLACEHOLDERS[:3] else x)
                for of, x in pictures(name, courses).items()
            }
            with path.open("wb") as file:
                np.savez(file, **{of: x.astype(np.float16) for of, x in made.items()})
            print(path.name, flush=True)


def smoothed(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Images shrunk by a factor, smoothed as they should be; what is finer is not there."""
    import torch
    import torch.nn.functional as F

    x = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float()
    size = pixels.shape[1] // factor
    x = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
    return x.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def edges(pixels: np.ndarray) -> np.ndarray:
    """A fixed transform: edges by 8 directions at 3 scales, summed over 4×4 cells, (N, 384)."""
    from scipy.ndimage import gaussian_filter

    x, found = pixels.mean(3) / 255, []
    size = x.shape[1]
    cell = np.arange(size) * 4 // size
    for sd in (size / 64, size / 32, size / 16):
        y = gaussian_filter(x, (0, sd, sd), mode="nearest")
        down, right = np.gradient(y, axis=(1, 2))
        length = np.hypot(down, right)
        way = np.floor((np.arctan2(down, right) / (2 * np.pi) + 1) * 8).astype(int) % 8
        sums = np.zeros((len(x), 4, 4, 8))
        rows = np.arange(len(x))[:, None, None]
        np.add.at(sums, (rows, cell[None, :, None], cell[None, None, :], way), length)
        found.append(sums.reshape(len(x), -1) / size**2)
    return np.concatenate(found, 1)


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
