"""Splits: a test part that is fixed for a data set, the rest drawn anew for each block of seeds.

A group is a test group where u < f, with u in [0, 1) a hash of its content and `test_seed` and f
the test fraction. So whether an image is tested hangs on nothing else: not on names, places, order
or labels, nor on which other images are there. The part's size is binomial; where chance leaves it
below half of what was asked for, as it may among few images, the groups of least u fill it up to
there. Train and validation are drawn anew by the block's seed, from the same kind of hash, to the
size asked for. Groups never straddle parts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kurabe.data.grouping import draw_groups, group_draws
from kurabe.data.images import ImageSet
from kurabe.errors import UserError


@dataclass(frozen=True, eq=False)
class Split:
    """Positions in an ImageSet, each int64 and ascending; disjoint, together all images."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def split(
    images: ImageSet,
    seed: int,
    *,
    test_seed: int = 0,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
) -> Split:
    """Divide images into train, validation and test, in whole groups.

    fractions: of all images, in that order, with sum 1; validation comes as near as groups allow.
    Raises UserError where a part would be empty.
    """
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise UserError(f"A split's fractions must be positive with sum 1, not {fractions}.")
    count = len(images)
    everything = np.arange(count)
    smallest = int(np.unique(images.groups, return_counts=True)[1].min())
    in_test = _tested(images, test_seed, fractions[2], smallest)
    rest = everything[~in_test]
    in_validation = draw_groups(
        images.groups[rest],
        max(round(count * fractions[1]), smallest),
        group_draws(images.keys, images.groups, f"validation/{test_seed}/{seed}")[rest],
    )
    parts = Split(rest[~in_validation], rest[in_validation], everything[in_test])
    if not (len(parts.train) and len(parts.validation) and len(parts.test)):
        different = len(np.unique(images.groups))
        raise UserError(
            f"{images.name} has {different} different images (near-duplicates counted once): "
            "too few to split into train, validation and test; add more images."
        )
    return parts


def _tested(images: ImageSet, test_seed: int, fraction: float, smallest: int) -> NDArray[np.bool_]:
    draws = group_draws(images.keys, images.groups, f"test/{test_seed}")
    fewest = max(round(len(images) * fraction / 2), smallest)
    in_test = draws < fraction
    if in_test.sum() >= fewest:
        return in_test
    return draw_groups(images.groups, fewest, draws)
