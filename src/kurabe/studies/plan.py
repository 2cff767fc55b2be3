"""The plan of a study in some five lines, shown before anything is waited for.

Expected minutes: Σ over runs of images / (images per second) + what a run takes besides training,
shared out among the workers.
"""

import numpy as np

from kurabe.data import ImageSet, Report, Split, bucketed
from kurabe.data.buckets import listed
from kurabe.errors import UserError
from kurabe.execution.engine import Engine
from kurabe.recipe import Optimiser
from kurabe.records import StudyFolder
from kurabe.runs.bases import find_base
from kurabe.runs.images import left_out, seen_by, shown
from kurabe.sizes import bucket_sides, times
from kurabe.studies import trials
from kurabe.studies.jobs import need_of, runs_at_once
from kurabe.studies.progress import TRIAL_BESIDE, beside_training
from kurabe.studies.state import StudyState
from kurabe.studies.study import Column, Study
from kurabe.words.commands import cells, duration, say

# The columns of the plan: its labels, its middle; what solves or changes a line stands behind.
LABEL, MIDDLE = 13, 58


def line(label: str, text: str, flag: str = "") -> str:
    """One line of the plan: two spaces, a label, what is so, and how to change it."""
    label = label + " " * max(1, LABEL - cells(label))
    if not flag:
        return f"  {label}  {text}"
    return f"  {label}  {text}{' ' * max(2, MIDDLE - cells(text))}{flag}"


def about_images(study: Study, images: ImageSet, split: Split, lang: str) -> list[str]:
    """Files kept and dropped and why; size and crop; split; base."""
    colour = say(f"colour.{images.channels}", lang)
    lines = [_files(study, images, lang)]
    # What a table of labels was taken for, and what of it was not used.
    lines += [line("", note) for note in (images.report.told(lang) if images.report else ())]
    sizes = _sizes(images.report) if images.report else times(images.size)
    text = say("plan.images.text", lang, sizes=sizes, colour=colour, size=times(images.size))
    lines.append(line(say("plan.images", lang), text, say("plan.images.flag", lang)))
    lines += about_buckets(study, images, lang)
    counts = {
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
    }
    lines.append(line(say("plan.split", lang), say("plan.split.text", lang, **counts)))
    if known := left_out(images, study.tested, split):
        bases = ", ".join(map(shown, seen_by(study.tested)))
        lines.append(line("", say("plan.seen", lang, n=known, base=bases)))
    if study.columns:
        lines.append(line(say("plan.base", lang), _base(study, lang), "--base"))
    return lines


def about_buckets(study: Study, images: ImageSet, lang: str) -> list[str]:
    """A line with how many images each bucket has, where the study trains in several.

    Nothing where the study's network takes one size alone, which is said where it is made.
    UserError where sizes or images do not do.
    """
    if study.data.aspects is None or not study.network.granule:
        return []
    try:
        sizes = bucket_sides(images.size, study.data.aspects, study.network.granule)
    except ValueError as error:
        raise UserError(f"data.aspects: {error}.") from None
    counts = bucketed(images, study.data.source, sizes).counts(np.arange(len(images)))
    text = say("plan.buckets.text", lang, counts=listed(counts))
    return [line(say("plan.buckets", lang), text, "--aspects")]


def about_runs(
    study: Study, state: StudyState, folder: StudyFolder, engine: Engine, lang: str
) -> str:
    """How many runs of which budget, and the minutes that those not yet finished will take."""
    total = len(study.columns) * len(study.all_blocks)
    left = len(unfinished(study, folder))
    done = say("plan.done", lang, done=total - left, total=total)
    if not left:
        return line(say("plan.plan", lang), done)
    untried = len(_untried(study, state))
    least, most = (n * untried for n in (study.trials.count, _most_trials(study, state)))
    text = say(
        "plan.plan.text",
        lang,
        methods=len(study.columns),
        blocks=len(study.all_blocks),
        budget=budget(study, lang),
        trials=say("plan.trials", lang, n=least, most=most) if least else "",
        minutes=duration(expected_seconds(study, state, folder, engine), lang),
        where=where(study, engine, lang),
    )
    flag = say("plan.plan.flag", lang)
    return line(say("plan.plan", lang), text if left == total else f"{text}; {done}", flag)


def about_marks(study: Study, lang: str) -> list[str]:
    """A line where so few blocks are planned that the table will have no marks."""
    blocks, first = len(study.all_blocks), study.planned[0]
    if blocks >= first:
        return []
    text = say("plan.marks.text", lang, first=first, blocks=blocks)
    return [line(say("plan.marks", lang), text, f"--seeds {first}")]


def about_own_settings(study: Study, lang: str) -> list[str]:
    """A line for each method whose card overrules what [optimiser] of the study changed."""
    usual, lines = Optimiser(), list[str]()
    for column in study.columns:
        own = study.choices(column).optimiser.model_dump(exclude_none=True)
        overruled = [
            f"{key} {value:g}"
            for key, value in own.items()
            if getattr(study.optimiser, key) not in (value, getattr(usual, key))
            and key not in column.overrides.get("optimiser", {})
        ]
        if overruled:
            text = f"{study.short_names(lang)[column.id]}: {', '.join(overruled)}"
            lines.append(line(say("plan.own", lang), text, "[columns.overrides.optimiser]"))
    return lines


def unfinished(study: Study, folder: StudyFolder) -> list[tuple[Column, int]]:
    """The columns and blocks whose runs are still to be done."""
    wanted = [(column, block) for block in study.all_blocks for column in study.columns]
    runs = [(c, b, folder.run(c.id, b)) for c, b in wanted]
    return [(c, b) for c, b, run in runs if not (run.exists and run.status == "finished")]


def expected_seconds(study: Study, state: StudyState, folder: StudyFolder, engine: Engine) -> float:
    """Seconds until every run of the study is finished, those that are taken off."""
    # What must be tried, and half of what may come to it where a rate lies on the edge.
    number = (study.trials.count + _most_trials(study, state)) / 2
    trying = sum(
        number * (study.trials.share * run_seconds(study, column, state) + TRIAL_BESIDE)
        for column in _untried(study, state)
    )
    at_once = max(1, runs_at_once(study, engine))
    return (trying + block_seconds(study, state, folder)) / at_once


def block_seconds(study: Study, state: StudyState, folder: StudyFolder) -> float:
    """Seconds of all runs that are still to be done, trials apart, one after the other."""
    beside = beside_training(study.evaluation, state.rates)
    left = unfinished(study, folder)
    return sum(run_seconds(study, column, state) + beside for column, _ in left)


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


def where(study: Study, engine: Engine, lang: str) -> str:
    """The cores that the runs keep busy, and on how many machines."""
    count = min(engine.cores, runs_at_once(study, engine) * need_of(study).cores)
    if engine.machines > 1:
        return say("plan.machines", lang, n=count, machines=engine.machines)
    return say("plan.core", lang) if count == 1 else say("plan.cores", lang, n=count)


def _untried(study: Study, state: StudyState) -> list[Column]:
    return [c for c in study.columns if study.searched(c) and c.id not in state.learning_rates]


def _most_trials(study: Study, state: StudyState) -> int:
    """The most trials that a column may have: as many as the others had, where there are some."""
    fixed = trials.number(state)
    return study.trials.count + study.trials.more if fixed is None else fixed


def _files(study: Study, images: ImageSet, lang: str) -> str:
    report = images.report
    if report is None:
        return line(study.name, say("images", lang, n=len(images)))
    counts = {
        "duplicate": len(report.duplicates),
        "unreadable": len(report.dropped),
        "near": sum(len(group) for group in report.near_duplicates),
    }
    parts = [say(f"plan.{key}", lang, n=n) for key, n in counts.items() if n]
    dropped = "".join(f", {part}" for part in parts)
    text = say("plan.files", lang, files=report.found, kept=len(images), dropped=dropped)
    return line(study.name, text, f"kurabe data check {shown(study.data.source)}")


def _sizes(report: Report) -> str:
    sides = [side for size in report.sizes for side in size]
    if not sides:
        return "?"
    return f"{min(sides)}" if min(sides) == max(sides) else f"{min(sides)}–{max(sides)}"


def _base(study: Study, lang: str) -> str:
    if study.base is None:
        return say("plan.base.none", lang)
    base = find_base(study.base)
    return say(
        "plan.base.text",
        lang,
        name=base.name,
        colour=say(f"colour.{base.channels}", lang),
        size=times(base.image_size),
        parameters=f"{(base.info.get('parameters') or 0) / 1e6:.1f}",
    )
