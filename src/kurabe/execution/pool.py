"""Runs under way on an engine, several at once, all of them resumable; and those that wait."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from kurabe.execution.engine import End, Engine, Need, Worker
from kurabe.execution.job import Job
from kurabe.records.lock import FolderBusy
from kurabe.runs.peak_memory import CAN_STAY
from kurabe.runs.worker import BUSY

# How often the runs' records are looked at, in seconds.
LOOK = 0.5
# How long a worker may take to save after it was asked to stop, in seconds.
PATIENCE = 60
# How often a run is begun whose folder a lost machine still seems to write into: a file server
# gives the lock of a client that is gone back after some 90 s, and a worker waits 60 s for it.
BEGUN_AT_MOST = 4


@dataclass
class Running:
    """A job under way: who carries it out, when it began, how often it was begun.

    seen: images that it had been trained on when it began.
    """

    job: Job
    worker: Worker
    began: float = field(default_factory=time.monotonic)
    attempt: int = 1
    seen: int = field(init=False)

    def __post_init__(self) -> None:
        self.seen = _images_seen(self.job)

    def goes_on_after(self, end: End) -> bool:
        """Whether it is to be begun once more: it was cut short, not for the second time at one
        place, or what was lost before still holds its folder."""
        if self.job.finished:
            return False
        if end.code == BUSY:
            return 1 < self.attempt < BEGUN_AT_MOST
        return end.is_killed and (self.attempt == 1 or _images_seen(self.job) > self.seen)


class Pool:
    """The workers of an engine, those at work and those that wait for more.

    All end where the context does.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.running: list[Running] = []
        self._idle: list[Worker] = []
        self._news = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop([one.worker for one in self.running] + self._idle)

    def has_room(self, job: Job, most: int | None) -> bool:
        """Whether the job can begin now, at most so many being under way."""
        return len(self.running) < self.engine.room(job.need, most)

    def begin(self, job: Job, attempt: int = 1) -> None:
        """Give the job to a worker that waits, else to a new one."""
        worker = self._loaded(job.need)
        if worker is None:
            self._let_idle_go()
            worker = self.engine.start(job.folder.path, job.need, self._news)
        self.running.append(Running(job, worker, attempt=attempt))
        worker.give(job.folder.path)

    def _loaded(self, need: Need) -> Worker | None:
        self._idle = [worker for worker in self._idle if worker.is_alive]
        found = next((worker for worker in self._idle if worker.need == need), None)
        if found is not None:
            self._idle.remove(found)
        return found

    def ended(self, seconds: float) -> list[tuple[Running, End]]:
        """Jobs that ended, and how; at most so long is waited."""
        self._news.wait(seconds)
        self._news.clear()
        found = [(one, end) for one in self.running if (end := one.worker.end()) is not None]
        for one, _ in found:
            self.running.remove(one)
            # What joins several processes is there for one run.
            can_stay = CAN_STAY and one.job.need.processes == 1
            if can_stay and one.worker.is_alive:
                self._idle.append(one.worker)
            else:
                one.worker.close()
        if any(one.worker.is_waiting for one in self.running):
            self._let_idle_go()
        return found

    def _let_idle_go(self) -> None:
        """Workers that wait for runs of another need, or elsewhere, hold what others could use."""
        self._stop(self._idle)
        self._idle = []

    def _stop(self, workers: Sequence[Worker]) -> None:
        for worker in workers:
            worker.close()
        deadline = time.monotonic() + PATIENCE
        for worker in workers:
            worker.wait(max(0.1, deadline - time.monotonic()))


def run_jobs(
    jobs: Sequence[Job],
    most: int | None,
    pool: Pool,
    look: Callable[[Sequence[Running]], None],
    ended: Callable[[Job], None],
    before: Callable[[Job], None] = lambda job: None,
) -> None:
    """Run what is not finished, in the order given, as many at once as the engine has room for.

    most: runs at once; None leaves it to the engine. `before` is called ahead of each run's start;
    `look` twice a second with what runs; `ended` after each run, failed ones too. A run whose
    process was killed, or whose machine was lost, is begun once more, and again where it has gone
    on since (it goes on where it was saved); a run that fails stays failed and the others go on.
    After a KeyboardInterrupt the end of the pool stops what runs and leaves it saved.
    """
    waiting = deque(job for job in jobs if not job.finished)
    while waiting or pool.running:
        while waiting and pool.has_room(waiting[0], most):
            job = waiting.popleft()
            before(job)
            pool.begin(job)
        look(pool.running)
        for one, end in pool.ended(LOOK):
            if one.goes_on_after(end):
                pool.begin(one.job, attempt=one.attempt + 1)
                continue
            _settle(one.job, end)
            ended(one.job)


def _images_seen(job: Job) -> int:
    return job.folder.info.get("images_seen") or 0


def _settle(job: Job, end: End) -> None:
    """A run that could not record its own failure has it recorded here."""
    folder = job.folder
    if job.finished or end.code in (0, BUSY):
        return
    if end.reason is not None:
        reason = end.reason
    elif end.code is None:
        reason = "the machine that carried it out was lost, twice at the same place"
    elif end.code < 0:
        reason = f"the process was killed by signal {-end.code}"
    elif folder.status != "failed":
        reason = f"the process ended with exit code {end.code}; see {folder.path / 'worker.log'}"
    else:
        return
    # Another process may have begun with the folder meanwhile; then the record is that one's.
    with suppress(FolderBusy), folder.writing():
        folder.update(status="failed", error=reason)
