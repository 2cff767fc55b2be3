"""Randomness as a function of (seed, purpose, position, view), never of a generator's state.

A counter-based generator (Philox 4×64; Salmon et al. 2011, "Parallel random numbers: as easy
as 1, 2, 3") is keyed by the seed and the purpose and started at a counter that names the
position in the stream and the view. So a resumed run, another batch size or another number of
processes draws the same numbers for the same image.
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def generator(seed: int, purpose: str, position: int = 0, view: int = 0) -> np.random.Generator:
    """A generator for one position of one stream.

    seed, position and view are whole numbers from 0; purpose is any text ("noise", "time").
    Streams do not overlap: the low counter word (2⁶⁴ blocks) is left to the draws themselves.
    """
    counter = np.array([0, position, view, 0], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=_key(seed, purpose), counter=counter))


@lru_cache(maxsize=256)
def _key(seed: int, purpose: str) -> NDArray[np.uint64]:
    digest = hashlib.blake2b(purpose.encode(), digest_size=8, key=seed.to_bytes(8, "little"))
    return np.array([int.from_bytes(digest.digest(), "little"), seed], dtype=np.uint64)


def generators(
    seed: int, purpose: str, positions: Sequence[int], view: int = 0
) -> Iterator[np.random.Generator]:
    """The generator of each position in turn; each is good until the next one is asked for.

    One generator moved from place to place: making a new one asks the system for entropy that is
    thrown away, which takes longer than drawing for a small image.
    """
    bits = np.random.Philox(key=_key(seed, purpose), counter=0)
    moved, start = np.random.Generator(bits), bits.state
    for position in positions:
        start["state"]["counter"] = np.array([0, position, view, 0], dtype=np.uint64)
        bits.state = start
        yield moved


def permutation(seed: int, purpose: str, epoch: int, n: int) -> NDArray[np.int64]:
    """The order in which n images are seen in an epoch: a permutation of 0 … n − 1, (n,)."""
    return generator(seed, purpose, epoch).permutation(n)


def uniform(
    seed: int, purpose: str, positions: Sequence[int], view: int = 0
) -> NDArray[np.float32]:
    """One draw from [0, 1) for each position, (len(positions),)."""
    draws = [g.random(dtype=np.float32) for g in generators(seed, purpose, positions, view)]
    return np.array(draws, dtype=np.float32)


def normal(
    seed: int, purpose: str, positions: Sequence[int], shape: tuple[int, ...], view: int = 0
) -> NDArray[np.float32]:
    """Standard normal noise for each position, (len(positions), *shape)."""
    out = np.empty((len(positions), *shape), dtype=np.float32)
    for row, drawing in zip(out, generators(seed, purpose, positions, view), strict=True):
        drawing.standard_normal(dtype=np.float32, out=row)
    return out
