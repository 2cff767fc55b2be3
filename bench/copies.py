"""What the alarm for near-copies finds: python bench/copies.py [SET ...]

Of every known set 200 images stand for training images and up to 500 of other groups for held-out
ones, which set the bound. Then it prints the share of planted copies of training images that fall
below it, by what was done to them, and the share of further real images that do. Aimed for, before
any figure was seen: 95 % of copies with noise of .1 (on [0, 1]), mirrored, moved by up to three
pixels, darker, in another hue, turned by 5°; at most 5 % of real images.
"""

import sys
import time

import numpy as np
from PIL import Image

from kurabe.data import load
from kurabe.evaluation import memorisation as m

TRAIN, HELD_OUT, FRESH = 200, 500, 500
SETS = ("emoji-base", "openmoji", "fashion-mnist", "animal-mnist", "digits")


def moved(x: np.ndarray, dy: int, dx: int) -> np.ndarray:
    side = x.shape[1]
    padded = np.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0)), mode="edge")
    return padded[:, 3 + dy : 3 + dy + side, 3 + dx : 3 + dx + side]


def turned(x: np.ndarray, angle: float) -> np.ndarray:
    out = []
    for image in x:
        picture = Image.fromarray(image.squeeze())
        paper = picture.getpixel((0, 0))
        way = picture.rotate(angle, Image.Resampling.BICUBIC, fillcolor=paper)
        out.append(np.asarray(way).reshape(image.shape))
    return np.stack(out)


def noisy(x: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).normal(size=x.shape)
    return np.clip(x + 0.1 * 255 * noise, 0, 255).astype(np.uint8)


def recoloured(x: np.ndarray, turn: int) -> np.ndarray:
    if x.shape[3] == 1:
        return x
    hsv = np.stack([np.asarray(Image.fromarray(image).convert("HSV")) for image in x])
    hsv[..., 0] += np.uint8(turn)
    return np.stack([np.asarray(Image.fromarray(image, "HSV").convert("RGB")) for image in hsv])


COPIES = {
    "noise": noisy,
    "mirror": lambda x: x[:, :, ::-1],
    "1 px": lambda x: moved(x, 0, 1),
    "3 px": lambda x: moved(x, -2, 3),
    "darker": lambda x: (x * 0.6).astype(np.uint8),
    "gamma": lambda x: (255 * (x / 255) ** 1.8).astype(np.uint8),
    "hue 60°": lambda x: recoloured(x, 43),
    "5°": lambda x: turned(x, 5),
    "15°": lambda x: turned(x, -15),
    "all": lambda x: noisy((moved(turned(x[:, :, ::-1], 10), 1, 1) * 0.7).astype(np.uint8)),
}


def main(names: list[str]) -> None:
    """Print a line a set."""
    print(f"{'':14}{'bound':>7}{'twins':>7}{'real':>7}" + "".join(f"{k:>9}" for k in COPIES))
    for name in names:
        images = load(name)
        order = np.random.default_rng(0).permutation(len(images.pixels))
        _, first = np.unique(images.groups[order], return_index=True)
        pixels = images.pixels[order[np.sort(first)]]
        train = pixels[:TRAIN]
        held = pixels[TRAIN : TRAIN + HELD_OUT]
        fresh = pixels[TRAIN + HELD_OUT :][:FRESH]

        def ratios(some: np.ndarray, train: np.ndarray = train) -> np.ndarray:
            found = m.nearest(m.structure_distances(some, train), np.arange(len(train)))
            assert found is not None
            return found.ratio

        began = time.perf_counter()
        known = ratios(held)
        bound = m.threshold(known)
        rest = known if len(fresh) < 100 else ratios(fresh)
        shares = [(ratios(change(train)) < bound).mean() for change in COPIES.values()]
        line = f"{name:14}{bound:7.3f}{m.twins(known):7}{(rest < bound).mean():7.3f}"
        seconds = time.perf_counter() - began
        print(line + "".join(f"{share:9.2f}" for share in shares), f"  ({seconds:.0f} s)")


if __name__ == "__main__":
    main(sys.argv[1:] or list(SETS))
