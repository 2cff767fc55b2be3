"""The images behind a study's data settings, and whether there are enough of them."""

from collections.abc import Iterable

import numpy as np

from kurabe import data
from kurabe.errors import UserError
from kurabe.recipe import DataSettings
from kurabe.records import RunFolder

FEWEST = 20


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
            f"kurabe data check {settings.source} lists them."
        )
    return images.by_content()


def check_same_images(runs: Iterable[RunFolder], images: data.ImageSet, source: str) -> None:
    """UserError where a run was begun on other images: their test part would be another too."""
    for run in runs:
        if run.info.get("data_digest") not in (None, images.digest):
            raise UserError(
                f"{source} holds other images now than when {run.path} was begun; put them back, "
                "or begin anew with --out."
            )


def split_images(images: data.ImageSet, settings: DataSettings, seed: int) -> data.Split:
    """Train, validation and test positions of the block with that seed."""
    return data.split(images, seed, test_seed=settings.test_seed, fractions=settings.fractions)
