"""Runs in real processes, several at once, each on its own threads, and all of them resumable.

On few cores, small networks train faster as two processes of one thread than one after the other
on two. A worker learns that its parent is gone, or wants to stop, when its standard input closes:
it saves and ends. So Ctrl-C, a closed terminal and a killed parent all leave the same state.
"""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from kurabe.execution.job import Job
from kurabe.records.lock import FolderBusy
from kurabe.runs.worker import BUSY

# How often the runs' records are looked at, in seconds.
LOOK = 0.5
# How long a worker may take to save after it was asked to stop, in seconds.
PATIENCE = 60


@dataclass
class Running:
    """A job under way: its process, when it began, how often it was begun."""

    job: Job
    process: subprocess.Popen[bytes]
    began: float = field(default_factory=time.monotonic)
    attempt: int = 1


def run_jobs(
    jobs: Sequence[Job],
    workers: int,
    look: Callable[[Sequence[Running]], None],
    ended: Callable[[Job], None],
    before: Callable[[Job], None] = lambda job: None,
) -> None:
    """Run what is not finished, `workers` at a time, in the order given.

    `before` is called ahead of each run's start; `look` twice a second with what runs; `ended`
    after each run, failed ones too. A process that a signal killed is begun once more (its run goes
    on where it was saved); a run that fails stays failed and the others go on. KeyboardInterrupt
    stops all and leaves them saved.
    """
    waiting = deque(job for job in jobs if not job.finished)
    running: list[Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.popleft()
                before(job)
                running.append(start(job))
            look(running)
            time.sleep(LOOK)
            for one in [r for r in running if r.process.poll() is not None]:
                running.remove(one)
                killed = one.process.returncode < 0 and not one.job.finished
                if killed and one.attempt == 1:
                    running.append(start(one.job, attempt=2))
                    continue
                _settle(one)
                ended(one.job)
    finally:
        _stop(running)


def start(job: Job, attempt: int = 1) -> Running:
    """Begin a job in a process of its own; what it says goes to worker.log in its folder."""
    with (job.folder.path / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            # -P: files beside which the command was typed are no modules of Python's.
            [sys.executable, "-P", "-m", "kurabe.runs.worker", str(job.folder.path)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=process_environment(job.recipe.where.threads),
            start_new_session=True,
        )
    return Running(job, process, attempt=attempt)


def _settle(ended: Running) -> None:
    """A process that could not record its own failure has it recorded here."""
    code, folder = ended.process.returncode, ended.job.folder
    if ended.job.finished or code in (0, BUSY):
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


def _stop(running: Sequence[Running]) -> None:
    for one in running:
        assert one.process.stdin is not None
        one.process.stdin.close()
    deadline = time.monotonic() + PATIENCE
    for one in running:
        try:
            one.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()


def process_environment(threads: int) -> dict[str, str]:
    """The environment of a process that computes on that many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads))}
