"""What stands and is asked on a node of a cluster; the other side is `kurabe.execution.on_ray`."""

import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import TypeVar

from kurabe.errors import UserError
from kurabe.execution.engine import Need
from kurabe.execution.local import Process

T = TypeVar("T")

SHARED = (
    "a study on Ray lies, as its images do, on a file system that all nodes share, under one path"
)


class Carrier:
    """The process on this node that carries out runs, as an actor holds it."""

    def __init__(self, need: Need, place: str) -> None:
        self._need, self._place = need, Path(place)
        self._news = Event()
        self._process: Process | None = None

    def carry_out(self, folder: str) -> int:
        """The exit code of the process that did it; 0 where the run is done."""
        if not Path(folder).is_dir():
            raise UserError(f"a node of the Ray cluster does not see {folder}: {SHARED}.")
        if self._process is None or not self._process.is_alive:
            place = self._place if self._place.is_dir() else None
            self._process = Process(Path(folder), self._need, self._news, place)
        self._process.give(Path(folder))
        while (end := self._process.end()) is None:
            self._news.wait()
            self._news.clear()
        assert end.code is not None
        return end.code

    def stop(self) -> None:
        """Let the run save and end."""
        if self._process is not None:
            self._process.close()


def called(place: str, function: Callable[..., T], *arguments: object) -> T:
    """What the function gives here, relative paths meant from that place."""
    with suppress(OSError):
        os.chdir(place)
    return function(*arguments)


@dataclass(frozen=True)
class Seen:
    """What a node answers: a path that it does not see, its Kurabe, its smallest GPU's bytes."""

    unseen: str | None
    version: str
    gpu_bytes: int | None


def seen(trace: str, secret: str, sources: Sequence[str]) -> Seen:
    """Whether this node sees what was just written into the study's folder, and the sources."""
    unseen = next((source for source in sources if not Path(source).exists()), None)
    try:
        same = Path(trace).read_text(encoding="ascii") == secret
    except OSError:
        same = False
    folder = None if same else str(Path(trace).parent)
    return Seen(folder or unseen, version("kurabe"), _smallest_gpu())


def _smallest_gpu() -> int | None:
    """Bytes of this machine's smallest GPU; None where none is known.

    Of the driver, since a task to which a cluster gave no GPU does not see any through torch.
    """
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
        return min((int(line) << 20 for line in done.stdout.split()), default=None)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None
