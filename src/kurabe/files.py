"""Files that are replaced whole or not at all, and where the cache lies."""

import contextlib
import errno
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, BinaryIO

from kurabe.errors import UserError, file_of

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_bytes_atomic(path: Path | str, data: bytes) -> None:
    """Replace a file by data: a reader, or a process killed in between, sees old or new.

    An OSError names the file itself, not what was written beside it on the way.
    """
    write_atomic(path, lambda file: file.write(data))


def write_atomic(path: Path | str, write: Callable[[BinaryIO], object]) -> None:
    """Replace a file by what `write` writes, as `write_bytes_atomic` does, not all in memory."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".kurabe-")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            # Some file systems know no permissions; the content is what counts.
            with contextlib.suppress(OSError):
                os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)  # noqa: PTH108
            raise


@contextlib.contextmanager
def naming(path: Path, instead_of: Path | None = None) -> Generator[None]:
    """Inside, an OSError is about this file, whatever the system calls it.

    instead_of: a folder; then only an OSError about what lies in it, or about no file.
    """
    try:
        yield
    except OSError as error:
        # A full disk is that of what is written, whichever file was open first.
        name = None if error.errno in _FULL else file_of(error)
        if not (instead_of and name and not Path(name).is_relative_to(instead_of)):
            error.filename, error.filename2 = str(path), None
        raise


@contextlib.contextmanager
def folder_for_now(within: Path, prefix: str = ".kurabe-") -> Generator[Path]:
    """A folder that is there inside. That it cannot be removed afterwards is no error: what was
    made in it has its place by then."""
    place = Path(tempfile.mkdtemp(dir=within, prefix=prefix))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def write_text_atomic(path: Path | str, text: str) -> None:
    """Replace a UTF-8 text file whole; UserError for a name in it that is not UTF-8."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        start = max(0, text.rfind("\n", 0, error.start), error.start - 60)
        part = text[start : error.end].strip().encode("utf-8", "backslashreplace").decode()
        raise UserError(
            f"{path} is UTF-8 text and cannot hold the name in {part}…; rename that file or folder."
        ) from None
    write_bytes_atomic(path, data)


def json_bytes(value: Any, indent: int | None = 1) -> bytes:
    """A value as JSON in UTF-8; NaN is refused, so that every reader can read it.

    A name that is not UTF-8 keeps its bytes as JSON's own \\udc.. escapes.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    return text.encode("utf-8", "backslashreplace")


def write_json_atomic(path: Path | str, value: Any) -> None:
    """Replace a JSON file whole."""
    write_bytes_atomic(path, json_bytes(value) + b"\n")


def check_place(path: Path, *, folder: bool) -> None:
    """UserError where a folder, or else a file, cannot be made at that place; nothing is made.

    Said before the work that the place is for.
    """
    if path.exists():
        if folder and not path.is_dir():
            raise UserError(f"{path} is a file, where a folder is meant; give another name.")
        if not folder and path.is_dir():
            raise UserError(f"{path} is a folder, where a file is meant; give another name.")
    above = path if folder else path.parent
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise UserError(
            f"{above} is a file, not a folder, so {path} cannot be made there; give another place."
        )
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{above} may not be written to; give another place than {path}.")


def cache_dir() -> Path:
    """The folder for what can be made again: KURABE_CACHE, else the platform's cache folder."""
    if given := os.environ.get("KURABE_CACHE"):
        return Path(given)
    if sys.platform == "win32":
        usual = Path(os.environ.get("LOCALAPPDATA", "~"), "kurabe")
    elif sys.platform == "darwin":
        usual = Path("~/Library/Caches/kurabe")
    else:
        usual = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "kurabe")
    try:
        return usual.expanduser()
    except RuntimeError:
        # A user without a home, as in some containers.
        return Path(tempfile.gettempdir(), "kurabe")
