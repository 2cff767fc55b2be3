"""File operations below some folders that fail: where, how, and whether they go on failing.

Python reports every opening, listing, making, moving and removing of a file before it is done
(PEP 578, sys.addaudithook), whoever asks: shutil, Pillow, NumPy and tempfile too. A hook that
raises is a system that refuses. It cannot be taken out again, so one hook stays and is told what
to do. What Python does not report is wrapped: looking a file up (os.stat), and what comes once a
file is open. There the system itself refuses, for good: what is read is /proc/self/mem, whose first
byte is an error of the disk (EIO), and what is written goes to /dev/full (ENOSPC). As from a real
disk, neither error names a file.
"""

import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

# The event, and which of its arguments are paths.
EVENTS = {
    "open": (0,),
    "os.listdir": (0,),
    "os.scandir": (0,),
    "os.mkdir": (0,),
    "os.rename": (1, 0),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.link": (1, 0),
    "os.symlink": (1, 0),
    "os.truncate": (0,),
    "os.utime": (0,),
    "sqlite3.connect": (0,),
}
# Once a file is open.
SYSTEM = {"read": "/proc/self/mem", "write": "/dev/full"} if sys.platform == "linux" else {}
# What is written beside a file on the way to it has another name each time.
BESIDE = ".kurabe-"


@dataclass(frozen=True)
class Operation:
    """One file operation: what is done, to which file, and by which lines of Kurabe."""

    event: str
    path: str
    lines: tuple[str, ...] = field(compare=False)
    why: str = field(default="", compare=False)

    @property
    def place(self) -> tuple[str, ...]:
        """What two operations share that are one line's work on files of one kind."""
        beside = os.path.basename(self.path).startswith(BESIDE)  # noqa: PTH119
        return (self.event, BESIDE if beside else Path(self.path).suffix, *self.lines)


@dataclass
class Watch:
    """Counts the operations below some folders; the one in place `at`, from 0, fails.

    number: the errno that it fails with, where not the system itself refuses.
    lasting: later ones fail as well, as long as the fault would last: a full disk for all that is
        written, a damaged file each time it is read, everything else for all that touches the path
        or what lies below it.
    """

    below: tuple[Path, ...]
    at: int | None = None
    number: int = 0
    lasting: bool = False
    seen: list[Operation] = field(default_factory=list[Operation])
    failed: list[Operation] = field(default_factory=list[Operation])

    def refuses(self, event: str, paths: list[str]) -> bool:
        """Count an operation; whether it is to fail."""
        path = next((os.path.abspath(path) for path in paths if self._covers(path)), None)  # noqa: PTH100
        if path is None:
            return False
        one = Operation(event, path, _lines(), os.strerror(self.number))
        self.seen.append(one)
        if self.at is None or len(self.seen) <= self.at:
            return False
        if len(self.seen) > self.at + 1 and not (self.lasting and self._lasts(one)):
            return False
        self.failed.append(one)
        return True

    def _covers(self, path: str) -> bool:
        whole = os.path.abspath(path)  # noqa: PTH100
        return any(whole == str(of) or whole.startswith(f"{of}/") for of in self.below)

    def _lasts(self, one: Operation) -> bool:
        first = self.failed[0] if self.failed else one
        if first.event == "write":
            return one.event == "write"
        if first.event == "read":
            return (one.event, one.path) == (first.event, first.path)
        folder, name = os.path.split(first.path)
        if name.startswith(BESIDE):
            return one.path.startswith(f"{folder}/{BESIDE}")
        return one.path == first.path or one.path.startswith(f"{first.path}/")


_watch: Watch | None = None
_hooked = False


def _lines() -> tuple[str, ...]:
    """The three innermost lines of Kurabe that are at work."""
    found: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(found) < 3:
        file = frame.f_code.co_filename
        if "/kurabe/" in file and "/tests/" not in file:
            found.append(f"{os.path.basename(file)}:{frame.f_lineno}")  # noqa: PTH119
        frame = frame.f_back
    return tuple(found)


def _ask(event: str, names: list[Any]) -> None:
    """OSError where that operation is to fail."""
    watch = _watch
    if watch is None:
        return
    paths = [os.fsdecode(os.fspath(n)) for n in names if isinstance(n, str | bytes | os.PathLike)]
    if watch.refuses(event, paths):
        raise OSError(watch.number, os.strerror(watch.number), paths[0])


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watch is not None and event in EVENTS:
        _ask(event, [arguments[k] for k in EVENTS[event] if k < len(arguments)])


_open, _stat, _lstat = io.open, os.stat, os.lstat


def _opened(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
    """As open, but what is then read or written may fail."""
    opened = _open(file, mode, *arguments, **named)
    name = os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else file  # noqa: PTH115
    event = "read" if set(mode) <= set("rbt") else "write"
    try:
        _ask(event, [name])
    except OSError:
        device = os.open(SYSTEM[event], os.O_RDONLY if event == "read" else os.O_WRONLY)
        os.dup2(device, opened.fileno())
        os.close(device)
    return opened


def _looked_up(real: Any) -> Any:
    def look(path: Any, *arguments: Any, **named: Any) -> os.stat_result:
        _ask("os.stat", [path])
        return real(path, *arguments, **named)

    return look


@contextmanager
def watched(watch: Watch) -> Generator[Watch]:
    """Inside, the operations of this thread and others are counted, and one may fail."""
    global _watch, _hooked
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    openers = ("io.open", "builtins.open") if SYSTEM else ()
    wrapped = [patch(name, _opened) for name in openers]
    wrapped += [patch("os.stat", _looked_up(_stat)), patch("os.lstat", _looked_up(_lstat))]
    for each in wrapped:
        each.start()
    _watch = watch
    try:
        yield watch
    finally:
        _watch = None
        for each in wrapped:
            each.stop()
