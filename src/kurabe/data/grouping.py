"""Drawing whole groups of images by their content, so that what belongs together stays together.

A group's key is the least key of its images. H(words, key) / 2⁶⁴ is a number in [0, 1) that is as
good as random, yet the same wherever that group lies, whatever it is called and whatever else is
there.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray


def group_draws(
    keys: NDArray[np.uint64], groups: NDArray[np.int64], words: str
) -> NDArray[np.float64]:
    """For each image, (N,), the number in [0, 1) that its group has under these words.

    An image that joins a group of n changes the group's number in one case of n + 1, where its
    own key is the least: no symmetric rule that follows content alone can do without.
    """
    _, members = np.unique(groups, return_inverse=True)
    least = np.full(members.max(initial=-1) + 1, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(least, members, keys)
    numbers = np.array([_number(words, key) for key in least.tolist()], np.float64)
    return numbers[members]


def draw_groups(
    groups: NDArray[np.int64], count: int, draws: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which images are drawn, (N,): groups in the order of their draws, each taken whole.

    At most `count` images: a group that no longer fits is passed over. Fewer where no remaining
    group is small enough.
    """
    _, first, members, sizes = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    taken = np.zeros(len(sizes), dtype=bool)
    room = count
    for group in np.argsort(draws[first], kind="stable").tolist():
        if sizes[group] <= room:
            taken[group] = True
            room -= int(sizes[group])
            if room == 0:
                break
    return taken[members]


def _number(words: str, key: int) -> float:
    content = f"{words}/{key:016x}".encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=6).digest(), "big") / 2.0**48
