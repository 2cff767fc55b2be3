"""The images behind a study's data settings, and whether there are enough of them."""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from kurabe import bases, data
from kurabe.conditions.classes import ByClass, Classes
from kurabe.data.report import CLOSED
from kurabe.data.sources import fingerprint
from kurabe.errors import UserError
from kurabe.methods import Choices
from kurabe.recipe import DataSettings, Recipe
from kurabe.records import RunFolder

FEWEST = 20
# Test images that must be left where a base has seen some of them.
FEWEST_TESTED = 5


def load_images(settings: DataSettings) -> data.ImageSet:
    """Load them (from the cache where they were decoded before), in the order of their content.

    So data order and training know nothing of names, nor of labels where those are folders.
    UserError where fewer than 20 are left after duplicates.
    """
    images = data.load(
        settings.source,
        size=settings.size,
        channels=settings.channels,
        limit=settings.limit,
        labels=settings.labels,
        seed=settings.test_seed,
    )
    different = len(np.unique(images.groups))
    if different < FEWEST:
        left = "1 image is" if different == 1 else f"{different} images are"
        raise UserError(
            f"Only {left} left after duplicates; a study needs at least {FEWEST}. "
            f"kurabe data check {shown(settings.source)} lists them."
        )
    return images.by_content()


def kept_images(settings: DataSettings) -> data.ImageSet:
    """`load_images`, from memory where this process loaded them last and no file has changed."""
    places = (settings.source, settings.labels)
    found = (fingerprint(Path(place).expanduser()) for place in places if place is not None)
    return _kept(settings.model_dump_json(), tuple(found))


@lru_cache(maxsize=1)
def _kept(settings: str, found: tuple[str, ...]) -> data.ImageSet:
    return load_images(DataSettings.model_validate_json(settings))


def shown(source: str) -> str:
    """A source as a person would type it from the working folder."""
    path, here = Path(source), Path.cwd()
    inside = path.is_absolute() and path != here and path.is_relative_to(here)
    return str(path.relative_to(here)) if inside else source


def known_by(images: data.ImageSet) -> dict[str, Any]:
    """What run.json says of a run's images and labels: digests of both, and by which rule."""
    return {
        "data_digest": images.digest,
        "labels_digest": images.labels_digest,
        "images_known_by": "content",
    }


def check_told(choices: Choices, images: data.ImageSet) -> None:
    """UserError where a method is told what the images have not: labels."""
    if isinstance(choices.condition, ByClass):
        Classes.of(images, np.arange(len(images)))


def check_same_images(
    runs: Iterable[RunFolder],
    images: data.ImageSet,
    source: str,
    way_out: str = "begin anew with --out",
) -> None:
    """UserError where a run was begun on other images or other labels, or by the rule of an
    earlier version: its test part would be another too."""
    for run in runs:
        info = run.info
        if info.get("data_digest") is None:
            continue
        if "images_known_by" not in info:
            raise UserError(
                f"{run.path} was begun by an earlier version of Kurabe, which told images apart "
                f"by their names and split them otherwise; {way_out}."
            )
        if info.get("data_digest") != images.digest:
            raise UserError(
                f"{shown(source)} holds other images now than when {run.path} was begun"
                f"{_closed(images)}; put them back, or {way_out}."
            )
        if info.get("labels_digest") != images.labels_digest:
            raise UserError(
                f"The images in {shown(source)} have other labels now than when {run.path} was "
                f"begun; put the labels back, or {way_out}."
            )


def _closed(images: data.ImageSet) -> str:
    """The first file that could not be looked into, which may be why images are others."""
    report = images.report
    if report is None or report.complete:
        return ""
    file, why = next(
        iter([one for one in report.dropped if CLOSED in one[1]]),
        next(((name, CLOSED) for name, why, _ in report.left if why == "left.closed"), ("", "")),
    )
    return f" ({file} {why})"


def split_images(images: data.ImageSet, settings: DataSettings, seed: int) -> data.Split:
    """Train, validation and test positions of the block with that seed.

    What `settings.unseen_by` was trained on is left out of the test part, in whole groups, and
    goes nowhere else: so the other parts do not hang on the base. UserError where fewer than
    FEWEST_TESTED test images remain of what were more.
    """
    parts = data.split(images, seed, test_seed=settings.test_seed, fractions=settings.fractions)
    named = seen_by(settings)
    traces = [of for of in map(traces_of, named) if of is not None]
    if not traces:
        return parts
    tested = images.subset(parts.test)
    held = np.any([of.hold(tested) for of in traces], axis=0)
    left = parts.test[~np.isin(tested.groups, np.unique(tested.groups[held]))]
    if len(left) < min(FEWEST_TESTED, len(parts.test)):
        bases = " and ".join(map(shown, named)) + (" was" if len(named) == 1 else " were")
        raise UserError(
            f"{bases} trained on {len(parts.test) - len(left)} of the {len(parts.test)} test "
            f"images of {images.name}, or on near-copies of them: too few "
            "are left to test on. Use another base with --base, images that it has not seen, or "
            "a method that starts from random weights (kurabe fit ddpm)."
        )
    return replace(parts, test=left)


def seen_by(settings: DataSettings) -> tuple[str, ...]:
    """The bases and runs whose training images are not tested."""
    named = settings.unseen_by
    return (named,) if isinstance(named, str) else named or ()


def left_out(images: data.ImageSet, settings: DataSettings, split: data.Split) -> int:
    """How many test images are not tested, since the base or the run was trained on them."""
    everything = data.split(images, 0, test_seed=settings.test_seed, fractions=settings.fractions)
    return len(everything.test) - len(split.test)


def traces_of(base: str) -> data.Traces | None:
    """What a base or a run was trained on, and what that one's base was, or one that it followed;
    None where unknown."""
    run = RunFolder(base)
    if base in bases.available() or not run.exists:
        return data.Traces.read(bases.find(base).path / data.TRACES)
    own = data.Traces.read(run.path / data.TRACES)
    recipe = Recipe.from_toml(run.recipe_path)
    for before in (recipe.base, *recipe.choices.bases_followed):
        earlier = None if before is None else traces_of(before)
        own = earlier if own is None else own.joined(earlier)
    return own
