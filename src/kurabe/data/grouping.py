"""Drawing whole groups of images, so that what belongs together stays on one side.

No mathematics beyond a random order.
"""

import numpy as np
from numpy.typing import NDArray


def draw_groups(
    groups: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which images are drawn, (N,): groups in random order, each taken whole where it still fits.

    At most `count` images; fewer where no remaining group is small enough.
    """
    _, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    taken = np.zeros(len(sizes), dtype=bool)
    room = count
    for group in rng.permutation(len(sizes)).tolist():
        if sizes[group] <= room:
            taken[group] = True
            room -= int(sizes[group])
            if room == 0:
                break
    return taken[members]
