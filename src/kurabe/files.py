"""Files that are replaced whole or not at all, and where the cache lies."""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any


def write_bytes_atomic(path: Path | str, data: bytes) -> None:
    """Replace a file by data: a reader, or a process killed in between, sees old or new."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_text_atomic(path: Path | str, text: str) -> None:
    """Replace a UTF-8 text file whole."""
    write_bytes_atomic(path, text.encode())


def write_json_atomic(path: Path | str, value: Any) -> None:
    """Replace a JSON file whole; NaN is refused, so that every reader can read it."""
    text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)
    write_text_atomic(path, text + "\n")


def cache_dir() -> Path:
    """The folder for what can be made again: KURABE_CACHE, else the platform's cache folder."""
    if given := os.environ.get("KURABE_CACHE"):
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", "~")).expanduser() / "kurabe"
    if sys.platform == "darwin":
        return Path("~/Library/Caches/kurabe").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "kurabe"
