"""Data sets that are known by name, ready as arrays: digits, Fashion-MNIST, animals, emoji.

No mathematics.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from kurabe import registry
from kurabe.data.cache import cached
from kurabe.data.duplicates import near_duplicates
from kurabe.data.images import ImageSet, concatenate
from kurabe.data.known import emoji
from kurabe.data.known.arrays import read_idx, read_pickled_array
from kurabe.data.known.fetch import Address, Folder, Installed, Progress, Source, apt, pip
from kurabe.errors import UserError
from kurabe.words import Texts
from kurabe.words.data import about

FASHION = Source(
    "fashion-mnist", ("*-ubyte.gz", "*-ubyte"),
    (
        Folder("/usr/share/datasets/fashion-mnist"),
        apt("dataset-fashion-mnist"),
        Address(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            tuple(
                f"{part}-{kind}-ubyte.gz"
                for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
            ),
        ),
    ),
    "fbe260807cac5b71c99acfec1410a16c471105969ebcb61af2176d41d83f5583", "MIT",
)  # fmt: skip
FASHION_LABELS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
ANIMALS = Source(
    "animal-mnist", ("animal_*_version_3.gz",),
    (
        Installed("animal-mnist", "0.4", "animal_mnist/data"),
        pip("animal-mnist", "0.4", "animal_mnist-0.4-py3-none-any.whl"),
    ),
    "f0678c4215296e0dd0d425f249a5234de769bf10fc31619c3ef42143cd98c6ed", "MIT",
)  # fmt: skip
ANIMAL_LABELS = (
    "Bear", "Bird", "Cat", "Cow", "Dog", "Elephant", "Giraffe", "Horse", "Sheep", "Zebra",
)  # fmt: skip


@dataclass(frozen=True)
class Named:
    """A known set: `make(size, progress)` gives it at `size` pixels where it is drawn (drawn_at
    is the least size it is drawn at), else at the size it has.

    about: what a person reads, in one language or in each of `kurabe.words.LANGUAGES`.
    near: join near-duplicates into groups. Not for emoji-base, which is only trained on, nor
    for Fashion-MNIST, whose plain outlines would chain 2,636 different clothes together.
    """

    about: str | Texts
    licence: str
    size: int
    channels: int
    make: Callable[[int, Progress | None], ImageSet]
    drawn_at: int | None = None
    near: bool = True


def digits(_: int, progress: Progress | None) -> ImageSet:
    """1,797 grey 8×8 digits (scikit-learn); 17 steps of grey from 0 to 255."""
    from sklearn.datasets import load_digits  # pyright: ignore[reportMissingTypeStubs]

    bunch = cast(Any, load_digits())
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    return _ungrouped("digits", pixels, bunch.target, tuple("0123456789"))


def fashion_mnist(_: int, progress: Progress | None) -> ImageSet:
    """70,000 grey 28×28 images of clothes; the 60,000 published as training images first."""
    files = FASHION.read(progress)
    parts = ("train", "t10k")
    pixels = np.concatenate([read_idx(files[f"{part}-images-idx3-ubyte"]) for part in parts])
    labels = np.concatenate([read_idx(files[f"{part}-labels-idx1-ubyte"]) for part in parts])
    return _ungrouped("fashion-mnist", pixels[..., None], labels, FASHION_LABELS)


def animal_mnist(_: int, progress: Progress | None) -> ImageSet:
    """10,000 grey 28×28 silhouettes of ten animals."""
    files = ANIMALS.read(progress)
    pixels = read_pickled_array(files["animal_data_version_3"]).astype(np.uint8)
    labels = read_pickled_array(files["animal_label_version_3"])
    return _ungrouped("animal-mnist", pixels.reshape(-1, 28, 28, 1), labels, ANIMAL_LABELS)


def emoji_base(size: int, progress: Progress | None) -> ImageSet:
    """Five vendors' drawings of the two thirds of emoji that targets leave to bases.

    Thirteen of Fluent's 3-D drawings come in two files, with and without a presentation mark;
    emoji-32 was trained with both, so both stay.
    """
    parts = [kind.draw(size, reserved=False, progress=progress) for kind in emoji.BASE_SETS]
    return concatenate("emoji-base", parts)


def get(name: str, size: int | None = None, progress: Progress | None = None) -> ImageSet:
    """A known set, fetched or from the cache, at its own size or, where it is drawn, at no less
    than `size` pixels. KeyError for a name that is not in `available()`."""
    known = available()[name]
    made_at = known.size if known.drawn_at is None else max(known.drawn_at, size or 0)
    key = {"named": name, "size": made_at, "version": VERSION, "near": known.near}
    if name not in _KNOWN:
        key["package"] = registry.look_up("datasets", name).package

    def make() -> ImageSet:
        images = known.make(made_at, progress)
        if not known.near:
            return images
        return replace(images, groups=near_duplicates(images.pixels, images.groups))

    return cached(key, make)


def available() -> dict[str, Named]:
    """All known sets by name: Kurabe's, then those of other packages, each a `Named`.

    One that cannot be loaded, or has the name of one of Kurabe's, is left out and told among the
    registry's problems.
    """
    return registry.kept("datasets", _available)


def _available() -> dict[str, Named]:
    found = dict(_KNOWN)
    for name, idea in registry.ideas("datasets").items():
        try:
            if name in _KNOWN:
                raise UserError(
                    f"The data set '{name}' of {idea.package} is Kurabe's name already."
                )
            made = idea.load()
            if not isinstance(made, Named):
                raise UserError(f"The data set '{name}' of {idea.package} is no Named.")
            found[name] = made
        except UserError as error:
            registry.left_out(str(error))
    return found


def _vendor(kind: emoji.EmojiSet, reserved: bool | None, about: Texts) -> Named:
    def make(size: int, progress: Progress | None) -> ImageSet:
        images = kind.draw(size, reserved, progress)
        return images.subset([images.ids.index(name) for name in dict.fromkeys(images.ids)])

    return Named(about, kind.source.licence, 32, 3, make, drawn_at=emoji.RASTER)


def _ungrouped(
    name: str, pixels: NDArray[np.uint8], labels: NDArray[np.generic], label_names: tuple[str, ...]
) -> ImageSet:
    count = len(pixels)
    return ImageSet(
        name=name,
        pixels=pixels,
        ids=tuple(f"{name}/{i:05d}" for i in range(count)),
        groups=np.arange(count, dtype=np.int64),
        labels=np.asarray(labels).astype(np.int64).reshape(count),
        label_names=label_names,
    )


VERSION = 2
_KNOWN = {
    "digits": Named(about("digits"), "BSD", 8, 1, digits),
    "fashion-mnist": Named(about("fashion-mnist"), "MIT", 28, 1, fashion_mnist, near=False),
    "animal-mnist": Named(about("animal-mnist"), "MIT", 28, 1, animal_mnist),
    "openmoji": _vendor(emoji.OPENMOJI, True, about("openmoji")),
    "openmoji-all": _vendor(emoji.OPENMOJI, None, about("openmoji-all")),
    "emoji-base": Named(
        about("emoji-base"),
        "Apache-2.0, MIT, CC-BY-4.0", 32, 3, emoji_base, drawn_at=emoji.RASTER, near=False,
    ),
    "emoji-fluent3d-target": _vendor(
        emoji.FLUENT_3D, True, about("emoji-fluent3d-target")
    ),
    **{
        kind.name: _vendor(kind, None, about("vendor"))
        for kind in emoji.SETS
        if kind is not emoji.OPENMOJI
    },
}  # fmt: skip
