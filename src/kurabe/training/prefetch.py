"""Batches drawn ahead by threads, while the network is busy with those before them.

A batch is a function of its stream and position, so what is drawn ahead is what would be drawn at
its turn: a wrong guess of what comes next costs time and changes nothing. Most of a batch's time
is spent outside Python's lock, in drawing noise.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

from kurabe.objectives.term import Batch, Stream

THREADS = 2
# Parts of a stream that are drawn before their turn.
AHEAD = 3

Window = tuple[Stream, int, int]


class Ahead:
    """`draw`, a function of (stream, first position, count), asked for window after window.

    skip: how many windows lie from one part of this process to its next.
    """

    def __init__(self, draw: Callable[[Stream, int, int], Batch], skip: int = 1) -> None:
        self._draw, self._skip = draw, skip
        self._begun: dict[Window, Future[Batch]] = {}

    def batch(self, stream: Stream, first: int, count: int) -> Batch:
        """What `draw` gives for the window; those that should come next are begun."""
        step = count * self._skip
        coming = [(stream, first + k * step, count) for k in range(1, AHEAD + 1)]
        found = self._begun.pop((stream, first, count), None)
        # What a stream asked for before it changed, or before a jump, is never fetched.
        for window in [w for w in self._begun if w[0].name == stream.name and w not in coming]:
            self._begun.pop(window).cancel()
        for window in coming:
            if window not in self._begun:
                self._begun[window] = _threads().submit(self._draw, *window)
        return self._draw(stream, first, count) if found is None else found.result()


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, "batches")
