"""The n-th file operation below some folders fails with an errno: what an audit hook can raise.

Python reports every opening, listing, making, moving and removing of a file before it is done
(PEP 578, sys.addaudithook), whoever asks: shutil, Pillow, NumPy and tempfile too. A hook that
raises is a system that refuses. It cannot be taken out again, so one hook stays and is told what
to do.
"""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The event, and which of its arguments are paths.
EVENTS = {
    "open": (0,),
    "os.listdir": (0,),
    "os.scandir": (0,),
    "os.mkdir": (0,),
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.link": (0, 1),
    "os.symlink": (0, 1),
    "os.truncate": (0,),
    "os.utime": (0,),
    "sqlite3.connect": (0,),
}


@dataclass
class Watch:
    """Counts the operations below `below`; the one in place `at`, from 0, fails with `number`."""

    below: Path
    at: int | None = None
    number: int = 0
    seen: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    # A disk that is full stays full: all later operations of that kind fail as well.
    lasting: bool = False


_watch: Watch | None = None
_hooked = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watch is None or event not in EVENTS:
        return
    for place in EVENTS[event]:
        name = arguments[place] if place < len(arguments) else None
        if not isinstance(name, str | bytes | os.PathLike):
            continue
        path = os.fsdecode(os.fspath(name))
        if not os.path.abspath(path).startswith(str(_watch.below)):  # noqa: PTH100
            continue
        watch, count = _watch, len(_watch.seen)
        watch.seen.append((event, path))
        if watch.at is not None and (count == watch.at or (watch.lasting and count > watch.at)):
            raise OSError(watch.number, os.strerror(watch.number), path)
        return


@contextmanager
def watched(watch: Watch) -> Generator[Watch]:
    """Inside, the operations of this thread and others are counted, and one may fail."""
    global _watch, _hooked
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    _watch = watch
    try:
        yield watch
    finally:
        _watch = None
