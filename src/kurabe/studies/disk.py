"""What a study will write, held against what is free, before anything is trained.

A finished run keeps the weights that it trained. While it trains its state lies beside them: the
weights, two moments of the optimiser, the average and the best, and a second state until the first
is replaced. Records and sample grids take what was seen of them in the shipped studies.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from kurabe.errors import UserError, shown
from kurabe.execution.engine import Engine
from kurabe.records import StudyFolder
from kurabe.studies.jobs import runs_at_once
from kurabe.studies.plan import line, unfinished
from kurabe.studies.state import StudyState
from kurabe.studies.study import Study
from kurabe.study_settings import Column
from kurabe.words.commands import say

# Of a run beside its weights: scores, metrics, grids, traces.
RECORDS = 2_000_000
# Copies of the trained weights in a state, two states at once.
STATES = 10


def needed(
    study: Study, state: StudyState, runs: Sequence[tuple[Column, int]], at_once: int
) -> tuple[int, int]:
    """Bytes that these runs will keep, and those needed only while so many train at once."""
    kept = [state.kept_bytes.get(column.id, 0) for column, _ in runs]
    largest = max(kept, default=0)
    return sum(kept) + RECORDS * len(runs), STATES * largest * min(len(runs), at_once)


def check(need: int, place: Path) -> int:
    """The bytes that are free at a place that need not be there yet; UserError where it is less."""
    above = place
    while not above.exists() and above != above.parent:
        above = above.parent
    free = shutil.disk_usage(above).free
    if need > free:
        raise UserError(
            f"{shown(place)} needs about {size(need)} and {size(free)} are free; make room, or "
            "give a place on another disk with --out."
        )
    return free


def about(
    study: Study, state: StudyState, folder: StudyFolder, engine: Engine, lang: str
) -> list[str]:
    """The line of the plan; none where nothing is to be run. UserError where it cannot fit."""
    runs = unfinished(study, folder)
    if not runs:
        return []
    most = study.trials.count + study.trials.more if study.trials.count else 0
    # A trial keeps its weights as a run does.
    trials = [
        (c, 0) for c in study.columns if study.searched(c) and c.id not in state.learning_rates
    ]
    need = sum(needed(study, state, runs + trials * most, runs_at_once(study, engine)))
    free = check(need, folder.path)
    return [
        line(say("plan.disk", lang), say("plan.disk.text", lang, need=size(need), free=size(free)))
    ]


def size(count: int) -> str:
    """Bytes as 12 MB or 3.4 GB, thousands of thousands as disks are sold."""
    if count < 1e9:
        return f"{max(1, round(count / 1e6))} MB"
    return f"{count / 1e9:.1f} GB" if count < 1e11 else f"{round(count / 1e9)} GB"
