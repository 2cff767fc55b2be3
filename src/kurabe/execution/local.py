"""The engine of this machine: runs in processes of their own, each on its own threads.

On few cores, small networks train faster as two processes of one thread than one after the other
on two. A process carries out one run after another, so that torch, encoder and images are loaded
once (`kurabe.runs.worker`); one whose run did not finish is replaced. It learns that its parent is
gone, or wants to stop, when its standard input closes: it saves and ends. So Ctrl-C, a closed
terminal and a killed parent all leave the same state.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Self, TypeVar

from kurabe.execution.engine import End, Need
from kurabe.records.surroundings import cores
from kurabe.runs.precision import settled_device

T = TypeVar("T")


class Process:
    """A process that carries out runs, one at a time; `news` is set whenever one has ended.

    place: the folder that relative paths are meant from; the working folder if None.
    """

    def __init__(
        self, first: Path, need: Need, news: threading.Event, place: Path | None = None
    ) -> None:
        self.need = need
        self._news = news
        self._ends: SimpleQueue[End] = SimpleQueue()
        # What it says before its first run belongs to that one.
        with (first / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(
                # -P: files beside which the command was typed are no modules of Python's.
                [sys.executable, "-P", "-m", "kurabe.runs.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=process_environment(need.threads),
                cwd=place,
                start_new_session=True,
            )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as answers:
            for _ in answers:
                self._ends.put(End(0))
                self._news.set()
        self._ends.put(End(self.process.wait()))
        self._news.set()

    is_waiting = False

    @property
    def is_alive(self) -> bool:
        """Whether it can be given another run."""
        return self.process.poll() is None

    def give(self, folder: Path) -> None:
        """Let it carry out the run in that folder; where it died meanwhile, `end` tells."""
        assert self.process.stdin is not None
        told = json.dumps(str(folder)).encode() + b"\n"
        with suppress(OSError):
            self.process.stdin.write(told)
            self.process.stdin.flush()

    def end(self) -> End | None:
        """How the run ended; None where it is under way."""
        with suppress(Empty):
            return self._ends.get_nowait()
        return None

    def close(self) -> None:
        """Ask it to save and end."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()

    def wait(self, seconds: float) -> None:
        """Until it has ended; it is killed where that takes longer."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Processes:
    """This machine, as many runs at once as its cores have room for; on a GPU one."""

    machines = 1
    shares_gpus = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def cores(self) -> int:
        """Cores that this process may use."""
        return cores()

    def device(self, name: str) -> str:
        """The device of that name; of "auto" the fastest of this machine."""
        return settled_device(name)

    def room(self, need: Need, most: int | None) -> int:
        """As many runs as asked for, else as the cores have threads for, one on a GPU."""
        if need.gpu_bytes != 0:
            return most or 1
        return most or max(1, cores() // need.cores)

    def beside(self, need: Need, most: int | None) -> int:
        """The same: all share this machine."""
        return self.room(need, most)

    def there(self, function: Callable[..., T], *arguments: object, need: Need) -> T:
        """What the function gives."""
        return function(*arguments)

    def check(self, folder: Path, sources: Sequence[Path], need: Need) -> None:
        """Nothing: what this process sees, its workers see."""

    def start(self, first: Path, need: Need, news: threading.Event) -> Process:
        """A process for runs of that need."""
        return Process(first, need, news)


# Where nothing else is asked for.
HERE = Processes()


def process_environment(threads: int) -> dict[str, str]:
    """The environment of a process that computes on that many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads))}
