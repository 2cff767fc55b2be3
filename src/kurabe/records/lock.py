"""One writer a folder: a lock that the system lets go of when its process ends, however it ends."""

import errno
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from kurabe.errors import UserError
from kurabe.files import naming

if sys.platform == "win32":
    import msvcrt

    def _take(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


# What the system answers where another process holds the lock.
_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK, getattr(errno, "EDEADLOCK", errno.EDEADLK))
# Whoever asks whether a lock is held takes it for an instant: so long, in seconds, is no holder.
_INSTANT = 0.5


class FolderBusy(UserError):
    """Another process writes into the folder; nothing of it may be touched."""


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Hold the lock file; FolderBusy where another process holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with naming(path):
            held = _tried(handle)
        if not held:
            raise FolderBusy(
                f"{path.parent} is being written by another process; wait for it, or stop it."
            )
        yield
    finally:
        os.close(handle)


def _tried(handle: int) -> bool:
    """Take the lock, again for an instant; whether it was taken."""
    deadline = time.monotonic() + _INSTANT
    while True:
        try:
            _take(handle)
        except OSError as error:
            if error.errno not in _HELD:
                raise
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        _take(handle)
    except OSError as error:
        return error.errno in _HELD
    finally:
        os.close(handle)
    return False
