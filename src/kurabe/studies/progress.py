"""What is under way, in one line a run, with the time that the study still needs.

run 4/15 · self-supervised · block 2 · 62 % · loss .031 · 180 images/s · 7 min left

A run's time is its images over the column's calibrated speed, plus what this study's finished
runs took besides training (a guess until one has finished).
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from kurabe.execution.job import Job
from kurabe.execution.pool import Running
from kurabe.recipe import Evaluation
from kurabe.records import RunFolder
from kurabe.words.commands import duration, say

# Start of a process, decoding and features, in seconds, before a run has shown it.
BESIDE_SAMPLING = 12.0
# A training step costs a forward and a backward pass, which is about two forward ones.
PASSES = 3.0
# The same for a learning-rate trial, which is not measured further.
TRIAL_BESIDE = 5.0
# Where there is no terminal, a line a run at most this often, in seconds.
PLAIN_EVERY = 30.0


@dataclass
class Clock:
    """Expected seconds of a study's runs: rates in images/s by column, and the rest as measured.

    guess: seconds of a run besides training, until one has shown it. later: seconds that the
    study needs after the runs that are shown.
    """

    rates: dict[str, float]
    workers: int
    guess: float
    later: float = 0.0
    beside: list[float] = field(default_factory=list)

    def learn(self, job: Job) -> None:
        """Take in what a finished run needed besides its training."""
        info = job.folder.info
        if (beside := info.get("beside_seconds")) is not None:
            self.beside.append(beside)

    @property
    def beside_training(self) -> float:
        """Mean seconds of a run besides training."""
        return sum(self.beside) / len(self.beside) if self.beside else self.guess

    def seconds(self, job: Job, share_done: float = 0.0) -> float:
        """What a run still needs, training `share_done` of its images being done."""
        rest = self.beside_training if job.block is not None else TRIAL_BESIDE
        return self.training(job) * (1 - share_done) + rest

    def training(self, job: Job) -> float:
        """Seconds of the run's training; 0 where nothing trains."""
        rate = self.rates.get(job.column.id)
        return (job.recipe.budget.images or 0) / rate if rate and job.recipe.choices.trains else 0.0

    def left(self, waiting: Sequence[Job], running: Sequence[Running]) -> float:
        """Seconds until all is done, the workers sharing what waits."""
        under_way = [self._rest(r) for r in running]
        total = sum(under_way) + sum(self.seconds(job) for job in waiting)
        return max([total / self.workers, *under_way]) + self.later

    def _rest(self, running: Running) -> float:
        share = share_done(running.job)
        rest = self.seconds(running.job, share)
        elapsed = time.monotonic() - running.began
        return rest if share < 1 else max(1.0, self.training(running.job) + rest - elapsed)


def beside_training(evaluation: Evaluation, rates: Mapping[str, float]) -> float:
    """Seconds that a run is expected to take besides training: mostly drawing its samples."""
    rate = max(rates.values(), default=0.0)
    passes = evaluation.samples * evaluation.evaluations
    return BESIDE_SAMPLING + (passes / (PASSES * rate) if rate else 0.0)


class Board:
    """Shows a study's runs: live lines on a terminal, else a plain line now and then.

    `names` gives each column's short name.
    """

    def __init__(self, jobs: Sequence[Job], clock: Clock, names: dict[str, str], lang: str) -> None:
        self.jobs, self.clock, self.names, self.lang = list(jobs), clock, names, lang
        self.console = Console(highlight=False, soft_wrap=True)
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._said: dict[Any, float] = {}

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def look(self, running: Sequence[Running]) -> None:
        """Show what runs now."""
        under_way = {id(r.job) for r in running}
        waiting = [j for j in self.jobs if id(j) not in under_way and not j.over]
        left = self.clock.left(waiting, running)
        if self.console.is_terminal:
            lines = [Text("  " + self.line(r, left)) for r in running]
            self._live.update(Text("\n").join(lines), refresh=True)
            return
        for one in running:
            now, key = time.monotonic(), one.job.folder.path
            if now - self._said.setdefault(key, one.began) >= PLAIN_EVERY:
                self._said[key] = now
                self.say(self.line(one, left))

    def ended(self, job: Job) -> None:
        """Say how a run ended."""
        info = job.folder.info
        if info.get("status") == "finished":
            self.clock.learn(job)
            took = (info.get("seconds") or 0.0) + (info.get("beside_seconds") or 0.0)
            how = say("run.finished", self.lang, time=duration(took, self.lang))
        elif info.get("status") != "failed":
            # The record is another process's.
            how = say("run.busy", self.lang, path=job.folder.path)
        else:
            how = say("run.failed", self.lang, error=info.get("error"))
        self.say(f"{self.head(job)} · {how}")

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(Text("  " + text))
        sys.stdout.flush()

    def head(self, job: Job) -> str:
        """Which run it is: its place among all, its column, its block."""
        place = self.jobs.index(job) + 1
        if job.block is not None:
            which = say("run.block", self.lang, n=job.block)
        else:
            which = say("run.trial", self.lang, lr=job.recipe.optimiser.lr)
        run = say("run", self.lang)
        return f"{run} {place}/{len(self.jobs)} · {self.names[job.column.id]} · {which}"

    def line(self, running: Running, left: float) -> str:
        """One run's line, with the time that all runs still need."""
        job = running.job
        seen = share_done(job)
        parts = [self.head(job)]
        lines = training_lines(job.folder)
        if seen >= 1:
            parts.append(say("run.evaluating", self.lang))
        elif not lines:
            parts.append(say("run.preparing", self.lang))
        else:
            parts.append(f"{seen:.0%}".replace("%", " %"))
            if (loss := lines[-1]["loss"]) is not None:
                parts.append(say("run.loss", self.lang, loss=plain(loss)))
            if rate := images_per_second(lines):
                parts.append(say("run.rate", self.lang, rate=round(rate)))
        parts.append(say("run.left", self.lang, time=duration(left, self.lang)))
        return " · ".join(parts)


def training_lines(folder: RunFolder) -> list[dict[str, Any]]:
    """The lines of a run's metrics that have a training loss."""
    return [m for m in folder.metrics() if "loss" in m]


def images_per_second(lines: Sequence[dict[str, Any]]) -> float | None:
    """The speed over the last ten lines; None where there are fewer than two."""
    if len(lines) < 2:
        return None
    first, last = lines[-10:][0], lines[-1]
    seconds = last["seconds"] - first["seconds"]
    return (last["images_seen"] - first["images_seen"]) / seconds if seconds > 0 else None


def share_done(job: Job) -> float:
    """Share of the run's training that is done, 0 to 1; patience may end it early."""
    info = job.folder.info
    if info.get("stopped"):
        return 1.0
    lines = training_lines(job.folder)
    budget = info.get("budget_images")
    return min(1.0, lines[-1]["images_seen"] / budget) if lines and budget else 0.0


def plain(value: float) -> str:
    """A number below one as .031, others with two digits after the point."""
    return f"{value:.3f}".removeprefix("0") if 0 <= value < 1 else f"{value:.2f}"
