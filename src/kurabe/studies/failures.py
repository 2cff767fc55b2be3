"""What failed in a study: which column and blocks, why in the run's own words, what to type next.

No mathematics.
"""

import math
from collections.abc import Iterable, Sequence

from kurabe.execution.job import Job, failed
from kurabe.records import RunFolder, StudyFolder
from kurabe.studies.study import Study
from kurabe.words.commands import say

# So many lines name failed runs.
SHOWN = 5

Where = tuple[str, str, int | float]


def about_failures(
    study: Study, folder: StudyFolder, jobs: Sequence[Job], command: str, lang: str
) -> list[str]:
    """A line for each column and reason, SHOWN of them, with the way to go on; then trials.

    Runs of a column that failed for one reason share a line; nothing where all went well.
    """
    names = study.short_names(lang)
    total = len({job.block for job in jobs if job.block is not None})
    of_runs = _together((j.column.id, _reason(j.folder, lang), j.block or 0) for j in failed(jobs))
    lines = list[str]()
    for (column, why), blocks in of_runs.items():
        which = ", ".join(map(str, sorted(blocks)))
        where = say("run.block" if len(blocks) == 1 else "run.blocks", lang, n=which)
        key = "end.failed.all" if len(blocks) == total else "end.failed"
        lines.append(say(key, lang, column=names[column], blocks=where, why=why))
    if len(lines) > SHOWN:
        rest = sum(map(len, list(of_runs.values())[SHOWN:]))
        lines = [*lines[:SHOWN], say("end.failed.rest", lang, n=rest)]
    if lines:
        lines.append(say("end.failed.again", lang, command=command))
    of_trials = ((c, _reason(run, lang), lr) for c, lr, run in _failed_trials(study, folder))
    for (column, why), rates in _together(of_trials).items():
        which = ", ".join(f"{rate:g}" for rate in sorted(rates))
        lines.append(say("end.failed.trial", lang, column=names[column], rates=which, why=why))
    return lines


def _together(failures: Iterable[Where]) -> dict[tuple[str, str], list[int | float]]:
    """The blocks or rates by column and reason, in the order in which they are met."""
    found: dict[tuple[str, str], list[int | float]] = {}
    for column, why, place in failures:
        found.setdefault((column, why), []).append(place)
    return found


def _reason(run: RunFolder, lang: str) -> str:
    """What the run said, on one line."""
    said = " ".join(str(run.info.get("error") or "").split())
    return said or say("end.failed.silent", lang, path=run.path)


def _failed_trials(study: Study, folder: StudyFolder) -> list[tuple[str, float, RunFolder]]:
    """Column, learning rate and folder of each trial that failed."""
    found = list[tuple[str, float, RunFolder]]()
    for column in study.columns:
        for path in sorted((folder.path / "trials" / column.id).glob("lr-*")):
            run = RunFolder(path)
            if run.exists and run.status == "failed":
                found.append((column.id, run.info.get("trial", math.nan), run))
    return found
