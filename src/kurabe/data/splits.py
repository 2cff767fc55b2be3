"""Splits: a test part that is fixed for a data set, the rest drawn anew for each block of seeds.

The test part depends on the data's digest and `test_seed` alone; train and validation on the
block's seed too. Groups never straddle parts, and labels play no role. No mathematics.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kurabe.data.grouping import draw_groups
from kurabe.data.images import ImageSet
from kurabe.errors import UserError
from kurabe.randomness import generator


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

    fractions: of all images, in that order, with sum 1; parts come as near as groups allow.
    Raises UserError where a part would be empty.
    """
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise UserError(f"A split's fractions must be positive with sum 1, not {fractions}.")
    count = len(images)
    everything = np.arange(count)
    smallest = int(np.unique(images.groups, return_counts=True)[1].min())
    in_test = draw_groups(
        images.groups,
        max(round(count * fractions[2]), smallest),
        generator(test_seed, f"test/{images.digest}"),
    )
    rest = everything[~in_test]
    in_validation = draw_groups(
        images.groups[rest],
        max(round(count * fractions[1]), smallest),
        generator(seed, f"validation/{test_seed}/{images.digest}"),
    )
    parts = Split(rest[~in_validation], rest[in_validation], everything[in_test])
    if not (len(parts.train) and len(parts.validation) and len(parts.test)):
        different = len(np.unique(images.groups))
        raise UserError(
            f"{images.name} has {different} different images (near-duplicates counted once): "
            "too few to split into train, validation and test; add more images."
        )
    return parts
