"""Learning-rate trials: as many for every column, short, judged by what a run keeps.

A trial's loss is that of the weights its run would keep, on the validation images: the average at
its end, or the best one on the way where the recipe has patience. The lowest wins; of those within
half a per cent of it the one nearest the method's own rate, since so short a run favours rates that
are too small for a long one (Wu et al. 2018, "Understanding short-horizon bias in stochastic
meta-optimization"), most of all behind a closed form, where it changes little. Where any column's
best rate lies at an end of its grid, every column gets one trial more: beyond that end, or
between its best rate and the better neighbour; so the number stays equal. A column added later gets
as many as the others had. The seeds of trials lie above any block's and are never used again.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kurabe.errors import RunFailed
from kurabe.execution.job import Job
from kurabe.records import StudyFolder
from kurabe.studies.jobs import trial_jobs
from kurabe.studies.state import LearningRate, StudyState
from kurabe.studies.study import Study

Losses = Mapping[float, float]
# By how large a share two losses of trials may differ and say nothing of the longer run.
TIE = 0.005


def search(
    study: Study,
    state: StudyState,
    folder: StudyFolder,
    execute: Callable[[Sequence[Job]], None],
) -> dict[str, LearningRate]:
    """The learning rates of the columns that have none yet; `execute` runs jobs to their end.

    A trial that failed before is tried once more; failing again counts as a loss of infinity (a
    rate at which training diverges is an answer). RunFailed where every trial of a column failed.
    """
    columns = [c for c in study.columns if study.searched(c) and c.id not in state.learning_rates]
    usual = {c.id: study.default_lr(c) for c in columns}
    grids = {c.id: list(study.trials.grid(usual[c.id])) for c in columns}
    fixed = number(state)
    most = study.trials.count + study.trials.more if fixed is None else fixed
    tried: set[Path] = set()
    while True:
        jobs = trial_jobs(study, state, folder, grids)
        pending = [j for j in jobs if not j.finished and j.folder.path not in tried]
        if pending:
            execute(pending)
        tried |= {job.folder.path for job in jobs}
        losses = {key: _losses(key, jobs) for key in grids}
        open_ended = fixed is not None or any(on_edge(of, usual[key]) for key, of in losses.items())
        if not open_ended or all(len(grid) >= most for grid in grids.values()):
            return {key: _found(of, usual[key], key, jobs) for key, of in losses.items()}
        for key, of in losses.items():
            grids[key].append(further(of, usual[key], study.trials.spacing))


def number(state: StudyState) -> int | None:
    """How many rates the columns that have theirs have tried; None before any has."""
    return max((len(found.losses) for found in state.learning_rates.values()), default=None)


def best_of(losses: Losses, usual: float) -> float:
    """The rate of the lowest loss; of those within TIE of it the one nearest `usual` by its factor.

    Of two as near the smaller.
    """
    near = min(losses.values()) * (1 + TIE)
    level = [lr for lr, loss in losses.items() if loss <= near]
    return min(level, key=lambda lr: (round(abs(math.log(lr / usual)), 2), lr))


def on_edge(losses: Losses, usual: float) -> bool:
    """Whether the best rate lies at either end of those tried."""
    return len(losses) > 1 and best_of(losses, usual) in (min(losses), max(losses))


def further(losses: Losses, usual: float, spacing: float) -> float:
    """The next rate: beyond the best where that lies at an end, else towards its better side."""
    rates, best = sorted(losses), best_of(losses, usual)
    place = rates.index(best)
    if place == len(rates) - 1:
        found = best * spacing
    elif place == 0:
        found = best / spacing
    else:
        found = math.sqrt(best * min(rates[place - 1], rates[place + 1], key=lambda r: losses[r]))
    return float(f"{found:.3g}")


def kept_loss(job: Job) -> float:
    """The validation loss of the weights that a trial's run keeps; infinity where it failed."""
    values = [m["held_out"] for m in job.folder.metrics() if m.get("held_out") is not None]
    if not values or not job.finished:
        return math.inf
    kept = values[-1] if job.recipe.optimiser.patience is None else min(values)
    return kept if math.isfinite(kept) else math.inf


def _losses(column: str, jobs: Sequence[Job]) -> dict[float, float]:
    own = [job for job in jobs if job.column.id == column]
    losses = {job.recipe.optimiser.lr: kept_loss(job) for job in own}
    if all(map(math.isinf, losses.values())):
        raise RunFailed(
            f"Every learning-rate trial of {column} failed; the first said: "
            f"{str(own[0].folder.info.get('error')).rstrip('.')}. Once that is mended, the same "
            "command tries them again; trials.count = 0 in study.toml does without them."
        )
    return losses


def _found(losses: Losses, usual: float, column: str, jobs: Sequence[Job]) -> LearningRate:
    infos = [job.folder.info for job in jobs if job.column.id == column]
    return LearningRate(
        lr=best_of(losses, usual),
        losses={f"{k:g}": v if math.isfinite(v) else None for k, v in sorted(losses.items())},
        on_edge=on_edge(losses, usual),
        seconds=sum(info.get("seconds") or 0 for info in infos),
        images=sum(job.folder.images_paid for job in jobs if job.column.id == column),
    )
