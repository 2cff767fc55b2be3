"""What an engine is: something that carries out runs, on this machine or on others.

A run is placed by what it needs. Whatever carries it out has the run's folder and nothing else, and
writes its records there; so all that an engine must do is start workers and tell how runs end.
Engines are ideas of the group `engines`, made without arguments and used as contexts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Protocol, Self, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Need:
    """What a run must have while it lasts.

    processes: how many share it, on one machine, each on that many threads. gpu_bytes: of one
    GPU's memory; 0 where it computes on none, None where each process takes a whole one.
    """

    threads: int
    gpu_bytes: int | None = 0
    processes: int = 1

    @property
    def cores(self) -> int:
        """Cores of a CPU, one for each thread."""
        return self.threads * self.processes


@dataclass(frozen=True)
class End:
    """How a run ended for whoever carried it out.

    code: 0 where it is done, else its process's exit code, −N after signal N, or None where the
    machine was lost. reason: one sentence, where more is known than that.
    """

    code: int | None
    reason: str | None = None

    @property
    def is_killed(self) -> bool:
        """Whether the run was cut short from outside; begun again, it goes on."""
        return self.code is None or self.code < 0


class Worker(Protocol):
    """What carries out runs of one need, one at a time, as `python -m kurabe.runs.worker` does."""

    need: Need

    @property
    def is_alive(self) -> bool:
        """Whether it can be given another run."""
        ...

    @property
    def is_waiting(self) -> bool:
        """Whether it has no place yet, since others hold what it needs."""
        ...

    def give(self, folder: Path) -> None:
        """Let it carry out the run in that folder; where it died meanwhile, `end` tells."""
        ...

    def end(self) -> End | None:
        """How the run ended; None where it is under way."""
        ...

    def close(self) -> None:
        """Ask it to save and end."""
        ...

    def wait(self, seconds: float) -> None:
        """Until it has ended; it is killed where that takes longer."""
        ...


class Engine(Protocol):
    """Where runs are carried out. Entering it raises UserError where it cannot be used."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def cores(self) -> int:
        """Cores of all its machines."""
        ...

    @property
    def machines(self) -> int:
        """How many machines it has now."""
        ...

    @property
    def shares_gpus(self) -> bool:
        """Whether it places several runs on one GPU by the memory that they need."""
        ...

    def device(self, name: str) -> str:
        """The device of that name, as torch names it; of "auto" the fastest that there is."""
        ...

    def room(self, need: Need, most: int | None) -> int:
        """How many runs of that need can be under way at once, at most so many."""
        ...

    def beside(self, need: Need, most: int | None) -> int:
        """How many of them share what they compute on: a machine's cores, or a GPU."""
        ...

    def there(self, function: Callable[..., T], *arguments: object, need: Need) -> T:
        """What the function gives on a machine that has room for that need."""
        ...

    def check(self, folder: Path, sources: Sequence[Path], need: Need) -> None:
        """UserError where a machine lacks the study's folder or what its runs read, or no machine
        has room for a run."""
        ...

    def start(self, first: Path, need: Need, news: Event) -> Worker:
        """A worker for runs of that need, which sets `news` whenever one ends.

        first: the run's folder that it will be given first.
        """
        ...
