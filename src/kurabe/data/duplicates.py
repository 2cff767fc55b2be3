"""Exact and near-duplicates among images of one size.

Exact: equal pixels. Near: what `kurabe.data.alike` calls alike, a picture moved, mirrored, turned
a little or stored anew. Whether two images are near-duplicates hangs on these two alone.

All pairs are compared without looking at all: a projection P (orthonormal rows) never lengthens
a difference, ‖Pĉ − Pĉ'‖ ≤ ‖ĉ − ĉ'‖, so the leading principal axes rule nearly all pairs out, and
along the first axis images are sorted and only a window is looked at.
"""

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from kurabe.data.alike import CANDIDATE, Alike, descriptors, shrunk
from kurabe.data.large import in_parts

AXES = 24
BLOCK, WINDOW = 256, 1 << 16
PAIRS = 100_000


def exact_duplicates(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """For each image the position of the first one with the same pixels (its own if none), (N,).

    Pixels are told apart by hashes of 128 bits, of which a million images have two alike with a
    probability below 10⁻²⁶.
    """
    hashes = b"".join(
        hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
        for part in in_parts(pixels)
        for image in part
    )
    keys = np.frombuffer(hashes, np.dtype([("high", ">u8"), ("low", ">u8")]))
    _, first, members = np.unique(keys, return_index=True, return_inverse=True)
    return first[members].astype(np.int64)


def near_duplicates(
    pixels: NDArray[np.uint8], groups: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Group numbers from 0, (N,), in which near-duplicates, moved, mirrored and turned copies, and
    theirs, share one.

    groups: what belongs together beforehand; its groups are only ever joined.
    """
    groups = np.arange(len(pixels)) if groups is None else groups
    small = shrunk(pixels)
    return _joined(groups, descriptors(small), 2 * (1 - CANDIDATE), Alike(small))


def _joined(
    groups: NDArray[np.int64],
    vectors: NDArray[np.float32],
    limit: float,
    close: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]],
) -> NDArray[np.int64]:
    """The groups with those joined that a close pair links; candidates by `vectors`."""
    everything = np.arange(len(groups))
    roots = _Roots(len(groups))
    _, first, members = np.unique(groups, return_index=True, return_inverse=True)
    roots.join(everything, first[members])
    for i, j in _candidates(vectors, limit):
        apart = roots.of(i) != roots.of(j)
        i, j = i[apart], j[apart]
        near = close(i, j)
        roots.join(i[near], j[near])
    return np.unique(roots.of(everything), return_inverse=True)[1].astype(np.int64)


def _candidates(
    x: NDArray[np.float32], limit: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Arrays (i, j) of positions, each pair for which ‖x_i − x_j‖² ≤ limit once."""
    _, axes = np.linalg.eigh(x.T @ x)
    projected = x @ axes[:, ::-1][:, :AXES]
    order = np.argsort(projected[:, 0], kind="stable")
    projected = projected[order]
    first: NDArray[np.float32] = projected[:, 0]
    reach: NDArray[np.float32] = first + np.float32(np.sqrt(limit))
    ends: list[int] = np.searchsorted(first, reach, side="right").tolist()
    squares = (projected**2).sum(axis=1)
    for start in range(0, len(order), BLOCK):
        stop = min(start + BLOCK, len(order))
        for left in range(start, ends[stop - 1], WINDOW):
            right = min(left + WINDOW, ends[stop - 1])
            near = 2 * projected[start:stop] @ projected[left:right].T
            near = squares[start:stop, None] + squares[left:right] - near <= limit + 1e-5
            rows, columns = np.nonzero(np.triu(near, 1 + start - left))
            for at in range(0, len(rows), PAIRS):
                part = slice(at, at + PAIRS)
                i, j = order[rows[part] + start], order[columns[part] + left]
                # The axes left are looked at where the leading ones rule nothing out.
                far = ((x[i] - x[j]) ** 2).sum(axis=1) > limit + 1e-5
                yield i[~far], j[~far]


class _Roots:
    """Sets of positions that are joined (union by least root, paths halved)."""

    def __init__(self, count: int) -> None:
        self.parent = np.arange(count)

    def of(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """The least position in each one's set."""
        while True:
            up = self.parent[at]
            if np.array_equal(up, at):
                return at
            at = up

    def join(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        """Join the sets of left[k] and right[k] for every k."""
        while len(left):
            a, b = self.of(left), self.of(right)
            low, high = np.minimum(a, b), np.maximum(a, b)
            apart = low < high
            left, right, low, high = left[apart], right[apart], low[apart], high[apart]
            np.minimum.at(self.parent, high, low)
