"""A job: one run to be done, which is a folder with its recipe in it and needs nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from kurabe.errors import RunFailed
from kurabe.execution.engine import Need
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.study_settings import Column


@dataclass(eq=False)
class Job:
    """One run to be done; block is None for a learning-rate trial.

    gpu_bytes: what it takes of a GPU's memory, where it computes on one; None if that is not known.
    Two jobs are never equal: a job is its place among the study's.
    """

    column: Column
    folder: RunFolder
    recipe: Recipe
    block: int | None
    gpu_bytes: int | None = None

    @property
    def need(self) -> Need:
        """What it must have while it lasts."""
        where = self.recipe.where
        on_gpu = where.device.startswith("cuda")
        return Need(where.threads, self.gpu_bytes if on_gpu else 0, where.processes)

    @property
    def finished(self) -> bool:
        """Whether the run is finished, by this command or an earlier one."""
        return self.folder.status == "finished"

    @property
    def over(self) -> bool:
        """Whether the run has ended, well or not."""
        return self.folder.status in ("finished", "failed")


def check_finished(jobs: Sequence[Job]) -> None:
    """RunFailed where not one job finished: there is nothing to show."""
    if jobs and not any(job.finished for job in jobs):
        told = ((job, e) for job in jobs if (e := job.folder.info.get("error")))
        job, error = next(told, (jobs[0], "no reason given"))
        which = job.column.id if job.block is None else f"{job.column.id}, block {job.block}"
        raise RunFailed(
            f"No run finished; {which}, failed first: {str(error).rstrip('.')}. Once that is "
            "mended, the same command tries all of them again."
        )


def failed(jobs: Sequence[Job]) -> list[Job]:
    """The jobs that failed; they are tried again by the next command."""
    return [job for job in jobs if job.folder.status == "failed"]
