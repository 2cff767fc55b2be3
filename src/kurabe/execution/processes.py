"""Runs in real processes, several at once, each on its own threads, and all of them resumable.

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
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Self

from kurabe.execution.job import Job
from kurabe.records.lock import FolderBusy
from kurabe.runs.memory import CAN_STAY
from kurabe.runs.worker import BUSY

# How often the runs' records are looked at, in seconds.
LOOK = 0.5
# How long a worker may take to save after it was asked to stop, in seconds.
PATIENCE = 60


class Worker:
    """A process that carries out runs, one at a time; `news` is set whenever one has ended."""

    def __init__(self, first: Job, news: threading.Event) -> None:
        self.threads = first.recipe.where.threads
        self._news = news
        self._ends: SimpleQueue[int] = SimpleQueue()
        # What it says before its first run belongs to that one.
        with (first.folder.path / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(
                # -P: files beside which the command was typed are no modules of Python's.
                [sys.executable, "-P", "-m", "kurabe.runs.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=process_environment(self.threads),
                start_new_session=True,
            )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as answers:
            for _ in answers:
                self._ends.put(0)
                self._news.set()
        self._ends.put(self.process.wait())
        self._news.set()

    @property
    def is_alive(self) -> bool:
        """Whether it can be given another run."""
        return self.process.poll() is None

    def give(self, job: Job) -> None:
        """Let it carry out the job; where it died meanwhile, `end` tells."""
        assert self.process.stdin is not None
        told = json.dumps(str(job.folder.path)).encode() + b"\n"
        with suppress(OSError):
            self.process.stdin.write(told)
            self.process.stdin.flush()

    def end(self) -> int | None:
        """0 where the job is done, the exit code where the process ended, None where it works."""
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


@dataclass
class Running:
    """A job under way: its process, when it began, how often it was begun."""

    job: Job
    worker: Worker
    began: float = field(default_factory=time.monotonic)
    attempt: int = 1


class Pool:
    """The processes at work and those that wait for more; all end where the context does."""

    def __init__(self) -> None:
        self.running: list[Running] = []
        self._idle: list[Worker] = []
        self._news = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def begin(self, job: Job, attempt: int = 1) -> None:
        """Give the job to a process that waits, else to a new one."""
        worker = self._loaded(job.recipe.where.threads) or Worker(job, self._news)
        worker.give(job)
        self.running.append(Running(job, worker, attempt=attempt))

    def _loaded(self, threads: int) -> Worker | None:
        self._idle = [worker for worker in self._idle if worker.is_alive]
        found = next((worker for worker in self._idle if worker.threads == threads), None)
        if found is not None:
            self._idle.remove(found)
        return found

    def ended(self, seconds: float) -> list[tuple[Running, int]]:
        """Jobs that ended, with 0 or their process's exit code; at most so long is waited."""
        self._news.wait(seconds)
        self._news.clear()
        found = [(one, code) for one in self.running if (code := one.worker.end()) is not None]
        for one, _ in found:
            self.running.remove(one)
            if CAN_STAY and one.worker.is_alive:
                self._idle.append(one.worker)
            else:
                one.worker.close()
        return found

    def _stop(self) -> None:
        workers = [one.worker for one in self.running] + self._idle
        for worker in workers:
            worker.close()
        deadline = time.monotonic() + PATIENCE
        for worker in workers:
            worker.wait(max(0.1, deadline - time.monotonic()))


def run_jobs(
    jobs: Sequence[Job],
    workers: int,
    pool: Pool,
    look: Callable[[Sequence[Running]], None],
    ended: Callable[[Job], None],
    before: Callable[[Job], None] = lambda job: None,
) -> None:
    """Run what is not finished, `workers` at a time, in the order given.

    `before` is called ahead of each run's start; `look` twice a second with what runs; `ended`
    after each run, failed ones too. A run whose process a signal killed is begun once more (it goes
    on where it was saved); a run that fails stays failed and the others go on. After a
    KeyboardInterrupt the end of the pool stops what runs and leaves it saved.
    """
    waiting = deque(job for job in jobs if not job.finished)
    while waiting or pool.running:
        while waiting and len(pool.running) < workers:
            job = waiting.popleft()
            before(job)
            pool.begin(job)
        look(pool.running)
        for one, code in pool.ended(LOOK):
            if code < 0 and not one.job.finished and one.attempt == 1:
                pool.begin(one.job, attempt=2)
                continue
            _settle(one.job, code)
            ended(one.job)


def _settle(job: Job, code: int) -> None:
    """A process that could not record its own failure has it recorded here."""
    folder = job.folder
    if job.finished or code in (0, BUSY):
        return
    if code < 0:
        reason = f"the process was killed by signal {-code}"
    elif folder.status != "failed":
        reason = f"the process ended with exit code {code}; see {folder.path / 'worker.log'}"
    else:
        return
    # Another process may have begun with the folder meanwhile; then the record is that one's.
    with suppress(FolderBusy), folder.writing():
        folder.update(status="failed", error=reason)


def process_environment(threads: int) -> dict[str, str]:
    """The environment of a process that computes on that many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads))}
