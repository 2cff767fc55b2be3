"""Learning-rate trials: as many for every column, short, judged by validation loss.

The lowest loss wins; where it lies at either end of its grid, that is recorded and said. The
seeds of trials lie above any block's and are never used again.
"""

import math
from collections.abc import Sequence

from kurabe.errors import RunFailed
from kurabe.studies.jobs import Job
from kurabe.studies.state import LearningRate


def chosen(jobs: Sequence[Job]) -> dict[str, LearningRate]:
    """The learning rate of each column whose trials have all ended.

    A failed trial counts as a loss of infinity (a rate at which training diverges is an answer).
    RunFailed where every trial of a column failed.
    """
    found: dict[str, LearningRate] = {}
    for column in dict.fromkeys(job.column.id for job in jobs):
        trials = [job for job in jobs if job.column.id == column]
        if not all(job.over for job in trials):
            continue
        losses = {job.recipe.optimiser.lr: validation_loss(job) for job in trials}
        best = min(losses, key=lambda lr: losses[lr])
        if math.isinf(losses[best]):
            raise RunFailed(
                f"Every learning-rate trial of {column} failed; the first said: "
                f"{trials[0].folder.info.get('error')}"
            )
        found[column] = LearningRate(
            lr=best,
            losses={f"{k:g}": v if math.isfinite(v) else None for k, v in losses.items()},
            on_edge=len(losses) > 1 and best in (min(losses), max(losses)),
            seconds=sum(job.folder.info.get("seconds") or 0 for job in trials),
            images=sum(job.folder.info.get("images_seen") or 0 for job in trials),
        )
    return found


def validation_loss(job: Job) -> float:
    """A trial's lowest loss on the validation images; infinity where it failed."""
    values = [m["held_out"] for m in job.folder.metrics() if m.get("held_out") is not None]
    return min(values) if values and job.finished else math.inf
