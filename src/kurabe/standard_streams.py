"""The standard streams of a command: their encodings, closed ones, readers that went away."""

import codecs
import contextlib
import os
import sys
from pathlib import Path
from typing import TextIO


def prepare() -> None:
    """Make names and sentences sayable: UTF-8 for names, no stream missing, no "?" for a character.

    May begin the process again, so it comes before anything else.
    """
    _in_utf8()
    _open_streams()
    codecs.register_error("kurabe", _stand_in)
    for stream in (sys.stdout, sys.stderr):
        getattr(stream, "reconfigure", lambda **_: None)(errors="kurabe")


def say(*sentences: str, code: int) -> int:
    """Say it in one line on stderr, and hand the exit code back."""
    text = " ".join(" ".join(sentences).split())
    # A number of a thousand digits says no more than its beginning.
    text = text if len(text) <= 1000 else f"{text[:300]} … {text[-150:]}"
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        let_go(sys.stderr)
    return code


def let_go(stream: TextIO) -> None:
    """Drop what a stream could not say, so that Python does not try again when it ends."""
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
    except ValueError:
        pass


def _in_utf8() -> None:
    """Begin again in Python's UTF-8 mode where the locale would read names otherwise.

    What is said keeps the encoding of the terminal. An old locale, of Latin-1 or EUC-JP, cannot
    name a file that a study.toml, which is UTF-8, speaks of.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8"):
        return
    said = getattr(sys.stdout, "encoding", None) or "utf-8"
    environment = {"PYTHONIOENCODING": said, **os.environ, "PYTHONUTF8": "1"}
    try:
        # Not every locale gives the bytes of an argument back.
        words = Path("/proc/self/cmdline").read_bytes().split(b"\0")[1:-1]
        os.execve(sys.executable, [os.fsencode(sys.executable), *words], environment)
    except (OSError, UnicodeError):
        return


def _open_streams() -> None:
    """Give a standard stream that was closed the null device, before a file gets its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    """What a stream says for characters its encoding lacks: never "?", which is a verdict."""
    from kurabe.comparison.drawings.width import sayable

    if not isinstance(error, UnicodeEncodeError):
        raise error
    return sayable(error.object[error.start : error.end], error.encoding), error.end
