"""The plan of a study in five lines, shown before anything is waited for.

Expected minutes: Σ over runs of images / (images per second) + what a run takes besides training,
shared out among the workers.
"""

import os

from kurabe import bases
from kurabe.data import ImageSet, Report, Split
from kurabe.records import StudyFolder
from kurabe.studies.progress import BESIDE_TRAINING, TRIAL_BESIDE
from kurabe.studies.state import StudyState
from kurabe.studies.study import Column, Study
from kurabe.words import duration, say

# The columns of the plan: its labels, its middle; what solves or changes a line stands behind.
LABEL, MIDDLE = 13, 58


def line(label: str, text: str, flag: str = "") -> str:
    """One line of the plan: two spaces, a label, what is so, and how to change it."""
    label = label + " " * max(1, LABEL - cells(label))
    if not flag:
        return f"  {label}  {text}"
    return f"  {label}  {text}{' ' * max(2, MIDDLE - cells(text))}{flag}"


def cells(text: str) -> int:
    """Columns that the text takes in a terminal."""
    from rich.cells import cell_len

    return cell_len(text)


def about_images(study: Study, images: ImageSet, split: Split, lang: str) -> list[str]:
    """Files kept and dropped and why; size and crop; split; base."""
    colour = say(f"colour.{images.channels}", lang)
    lines = [_files(study, images, lang)]
    sizes = _sizes(images.report) if images.report else f"{images.size}"
    text = say("plan.images.text", lang, sizes=sizes, colour=colour, size=images.size)
    lines.append(line(say("plan.images", lang), text, say("plan.images.flag", lang)))
    counts = {
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
    }
    lines.append(line(say("plan.split", lang), say("plan.split.text", lang, **counts)))
    lines.append(line(say("plan.base", lang), _base(study, lang), "--base"))
    return lines


def about_runs(study: Study, state: StudyState, folder: StudyFolder, lang: str) -> str:
    """How many runs of which budget, and the minutes that those not yet finished will take."""
    untried = [c for c in study.columns if study.trained(c) and c.id not in state.learning_rates]
    trials = study.trials.count * len(untried)
    text = say(
        "plan.plan.text",
        lang,
        methods=len(study.columns),
        blocks=len(study.all_blocks),
        budget=budget(study, lang),
        trials=say("plan.trials", lang, n=trials) if trials else "",
        minutes=duration(expected_seconds(study, state, folder), lang),
        where=where(study, lang),
    )
    return line(say("plan.plan", lang), text, say("plan.plan.flag", lang))


def expected_seconds(study: Study, state: StudyState, folder: StudyFolder) -> float:
    """Seconds until every run of the study is finished, those that are taken off."""
    total = 0.0
    for column in study.columns:
        training = run_seconds(study, column, state)
        if training and column.id not in state.learning_rates:
            total += study.trials.count * (study.trials.share * training + TRIAL_BESIDE)
        for block in study.all_blocks:
            run = folder.run(column.id, block)
            if not (run.exists and run.status == "finished"):
                total += training + BESIDE_TRAINING
    return total / workers(study)


def run_seconds(study: Study, column: Column, state: StudyState) -> float:
    """Expected seconds of training of one run of a column; 0 where nothing trains."""
    if not study.trained(column):
        return 0.0
    return study.images(column, state) / state.rates[column.id]


def budget(study: Study, lang: str) -> str:
    """The budget of one run in words."""
    if study.budget.seconds is not None:
        return duration(study.budget.seconds, lang)
    return say("images", lang, n=f"{study.budget.images:,}")


def workers(study: Study) -> int:
    """How many runs go on at once: as many as the cores have threads for."""
    return study.workers or max(1, cores() // study.threads)


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def where(study: Study, lang: str) -> str:
    """The cores that the runs keep busy."""
    count = min(cores(), workers(study) * study.threads)
    return say("plan.core", lang) if count == 1 else say("plan.cores", lang, n=count)


def _files(study: Study, images: ImageSet, lang: str) -> str:
    report = images.report
    if report is None:
        return line(study.name, say("images", lang, n=len(images)))
    parts = [
        say("plan.duplicates", lang, n=len(report.duplicates)) if report.duplicates else "",
        say("plan.unreadable", lang, n=len(report.dropped)) if report.dropped else "",
        say("plan.near", lang, n=sum(len(g) for g in report.near_duplicates))
        if report.near_duplicates
        else "",
    ]
    dropped = "".join(f", {part}" for part in parts if part)
    text = say("plan.files", lang, files=report.found, kept=len(images), dropped=dropped)
    return line(study.name, text, f"kurabe data check {study.data.source}")


def _sizes(report: Report) -> str:
    sides = [side for size in report.sizes for side in size]
    if not sides:
        return "?"
    return f"{min(sides)}" if min(sides) == max(sides) else f"{min(sides)}–{max(sides)}"


def _base(study: Study, lang: str) -> str:
    if study.base is None:
        return say("plan.base.none", lang)
    base = bases.find(study.base)
    return say(
        "plan.base.text",
        lang,
        name=base.name,
        colour=say(f"colour.{base.channels}", lang),
        size=base.image_size,
        parameters=f"{base.info.get('parameters', 0) / 1e6:.1f}",
    )
