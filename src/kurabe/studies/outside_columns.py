"""Columns that were made elsewhere, from what a person typed to the study that has them."""

from collections.abc import Callable, Sequence
from typing import Any

from kurabe import data
from kurabe.errors import UserError
from kurabe.outside.drawn import check_checkpoint
from kurabe.outside.folders import check_size, look
from kurabe.outside.measure import blocks_of, measure
from kurabe.outside_settings import GROUPS, OutsideColumn, Question, columns_of
from kurabe.records import StudyFolder
from kurabe.runs.bases import find_base
from kurabe.sizes import setting_of, sides_of, times
from kurabe.studies import plan
from kurabe.studies.study import Study
from kurabe.words.outside import say

# What is drawn larger is compared at this side where nothing is asked for: no encoder sees more.
USUAL_SIDE = 256


def of_outside(
    name: str,
    texts: Sequence[str],
    question: Question,
    images: dict[str, Any],
    evaluation: dict[str, Any],
    first_seed: int,
    prompt: str | None = None,
) -> Study:
    """A new study that trains nothing and has these columns, NAME=PATH each.

    images: the data's settings. prompt: for checkpoints that draw from text. UserError where a
    column is none, or holds other numbers of images than the others.
    """
    columns = _columns(texts, prompt)
    folders = [look(place) for column in columns for place in column.samples]
    size = images.get("size")
    if folders:
        evaluation = {**evaluation, "samples": _number(folders)}
        sides = folders[0].size
        size = size or (setting_of(sides) if max(sides) <= USUAL_SIDE else USUAL_SIDE)
    if checkpoint := next((column.checkpoint[0] for column in columns if column.checkpoint), None):
        base = find_base(checkpoint)
        size = size or setting_of(base.image_size)
        images = {**images, "channels": images.get("channels") or base.channels}
    one = question == "checkpoints"
    settings = {
        "name": name,
        "data": {**images, "size": size},
        "first_seed": first_seed,
        "evaluation": evaluation,
        "outside": [column.model_dump(mode="json") for column in columns],
        "baseline": columns[0].id,
        "blocks": GROUPS if one else max(column.places for column in columns),
        "looks": (GROUPS,) if one else None,
        "question": question,
        "device": "cpu",
        "dtype": "float32",
    }
    return Study.checked(settings, images["source"])


def _columns(texts: Sequence[str], prompt: str | None) -> list[OutsideColumn]:
    """The columns as typed, the prompt given to each checkpoint that draws from text."""
    columns = [column for text in texts for column in columns_of(text)]
    if prompt is None:
        return columns
    told = {"prompt": prompt}
    return [
        column.model_copy(update=told)
        if any(find_base(place).asks_for_text for place in column.checkpoint)
        else column
        for column in columns
    ]


def _number(folders: Sequence[Any]) -> int:
    """How many images each folder holds; UserError where they differ."""
    first = folders[0]
    for other in folders[1:]:
        if len(other) != len(first):
            raise UserError(
                f"{other.path} holds {len(other)} images and {first.path} {len(first)}; distances "
                "depend on the number, so give folders of as many."
            )
    return len(first)


def with_outside(study: Study, texts: Sequence[str], prompt: str | None = None) -> Study:
    """The study with more outside columns, or more places of those that it has.

    prompt: for checkpoints that draw from text.
    """
    for column in _columns(texts, prompt):
        known = {own.id: own for own in study.outside}
        has = known.get(column.id)
        if has is not None:
            _check_goes_on(has, column)
        known[column.id] = (
            column
            if has is None
            else column.model_copy(update={"method": has.method, "prompt": has.prompt})
        )
        study = study.changed(outside=[of.model_dump(mode="json") for of in known.values()])
    most = max((column.places for column in study.outside), default=0)
    if study.question == "methods" and most > len(study.all_blocks):
        study = study.changed(added_blocks=most - study.blocks)
    return study


def _check_goes_on(has: OutsideColumn, column: OutsideColumn) -> None:
    """UserError where a column that was measured is to be of other places."""
    kinds = ("samples", "features", "checkpoint")
    for before, after in ((getattr(has, kind), getattr(column, kind)) for kind in kinds):
        if after[: len(before)] != before:
            raise UserError(
                f"The column '{has.id}' begins with {', '.join(before) or 'nothing'}; give this "
                "one another name."
            )


def about(study: Study, images: data.ImageSet, lang: str) -> list[str]:
    """A line of the plan for each outside column; UserError where one cannot be measured."""
    blocks_of(study, {})
    lines: list[str] = []
    label = say("plan.outside", lang)
    for column in study.outside:
        if column.samples:
            drawn = look(column.samples[0])
            for place in column.samples:
                check_size(look(place), sides_of(study.data.size or USUAL_SIDE))
            text = say(
                "plan.column",
                lang,
                places=len(column.samples),
                n=study.evaluation.samples,
                size=times(drawn.size),
            )
            if drawn.asked is not None:
                text += f" ({say('plan.paired', lang)})"
        elif column.checkpoint:
            for place in column.checkpoint:
                check_checkpoint(column, place, images.size, images.channels, study.evaluation)
            text = say(
                "plan.checkpoints",
                lang,
                places=len(column.checkpoint),
                n=study.evaluation.samples,
                evaluations=study.evaluation.evaluations,
            )
        else:
            text = say("plan.features", lang, places=len(column.features))
        lines.append(plan.line(label, f"{column.id}: {text}"))
        label = ""
    return lines


def measured(
    study: Study,
    images: data.ImageSet,
    folder: StudyFolder,
    lang: str,
    show: Callable[[str], object],
) -> None:
    """Measure what is not measured yet, with a line for each block."""

    def line(key: str) -> Callable[[str, int], object]:
        return lambda column, block: show(plan.line("", say(key, lang, column=column, block=block)))

    if study.outside:
        measure(study, study.tested, images, folder, line("measured"), line("drawn"))
