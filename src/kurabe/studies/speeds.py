"""What finished runs say of a column's speed: the next blocks' seconds become images by it.

A calibration of some seconds errs by some per cent, and by the same in every block, so that
replication cannot show it. Trials and runs are the same work at full length. Of columns with one
step graph together, the rate is

    (r₀ s₀ + Σ images) / (s₀ + Σ seconds)

over trials and over blocks that all columns have finished, so that a machine's slow hours hit all
alike; r₀ is the calibration's rate and s₀ the seconds it lasted. A block's rates are settled just
before its first run and kept in study.json: a study that goes on elsewhere or later has the same
budgets.
"""

from collections.abc import Sequence

from kurabe.execution.job import Job
from kurabe.studies.calibration import SECONDS_EACH, alike
from kurabe.studies.state import StudyState
from kurabe.studies.study import Study


def known(study: Study, state: StudyState, jobs: Sequence[Job]) -> dict[str, float]:
    """Images per second of every column that trains, by all that has finished so far."""
    work = {key: [(found.images, found.seconds)] for key, found in state.learning_rates.items()}
    for block in study.all_blocks:
        here = [job for job in jobs if job.block == block and study.trained(job.column)]
        if here and all(job.finished for job in here):
            for job in here:
                one = (job.folder.images_paid, job.folder.info.get("seconds") or 0.0)
                work.setdefault(job.column.id, []).append(one)
    rates: dict[str, float] = {}
    for key, family in alike(study).items():
        done = [one for other in family for one in work.get(other, ())]
        images, seconds = (sum(side) for side in zip(*done, strict=True)) if done else (0, 0.0)
        first = state.rates[key]
        rates[key] = (first * SECONDS_EACH + images) / (SECONDS_EACH + seconds)
    return rates


def settle(study: Study, state: StudyState, jobs: Sequence[Job], block: int | None) -> bool:
    """Fix the speeds of a block that is about to begin; whether anything was left to fix.

    Only a budget in equal seconds hangs on each column's own speed. A column added later takes
    the rate of one with its step graph, where the block has one.
    """
    if block is None or study.budget.seconds is None or study.equal != "seconds":
        return False
    fixed = state.settled.get(block, {})
    families = alike(study)
    lacking = [key for key in families if key not in fixed]
    if not lacking:
        return False
    here = [job for job in jobs if job.block == block and study.trained(job.column)]
    begun = not fixed and any(job.folder.status != "planned" for job in here)
    now = state.rates if begun else known(study, state, jobs)
    for key in lacking:
        same = next((fixed[other] for other in families[key] if other in fixed), None)
        fixed = fixed | {key: now[key] if same is None else same}
    state.settled[block] = fixed
    return True
