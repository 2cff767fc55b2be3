"""The runs of a study as jobs: which folders there are to be, and which are done already.

A job is a run folder with its recipe in it, so that a worker needs nothing but the folder. What a
folder was begun with is never replaced: a study whose settings changed afterwards is refused. Only
the images of a run that is still planned follow the speeds of its block.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from kurabe.errors import UserError
from kurabe.execution.engine import Engine, Need
from kurabe.execution.job import Job
from kurabe.files import write_text_atomic
from kurabe.recipe import Budget, Recipe, Where
from kurabe.records import RunFolder, StudyFolder
from kurabe.studies.state import StudyState
from kurabe.studies.study import Column, Study

# What a run needs of a GPU beside what training was seen to hold: torch's own part, and that
# samples are drawn and measured after training.
GIB, GPU_BESIDE, GPU_MARGIN = 1 << 30, 1, 1.5


def need_of(study: Study) -> Need:
    """What a run of the study needs, as far as is known before any has finished."""
    on_gpu = study.device.startswith("cuda")
    return Need(study.threads, None if on_gpu else 0, study.processes)


def read_by(study: Study) -> list[Path]:
    """What lies here that the study's runs read: images, labels, bases; as far as it is paths."""
    own = [column.overrides.get("base") for column in study.columns]
    named = [study.data.source, study.data.labels, study.base, *own]
    return [Path(name) for name in named if name and Path(name).exists()]


def runs_at_once(study: Study, engine: Engine) -> int:
    """How many runs are under way at once: as many as there is room for, or as are asked for."""
    return engine.room(need_of(study), study.workers)


def gpu_bytes(study: Study, jobs: Sequence[Job], column: Column) -> int | None:
    """What a run of the column takes of a GPU, by those that finished; None where that is unknown.

    In whole GiB, so that runs that take about as much can follow one another in one worker. Where
    budgets are in seconds no run shares a GPU: it would be slower than it was measured.
    """
    if study.budget.images is None:
        return None
    finished = [job for job in jobs if job.column.id == column.id and job.finished]
    peaks = [peak for job in finished if (peak := job.folder.info.get("peak_memory"))]
    return (math.ceil(GPU_MARGIN * max(peaks) / GIB) + GPU_BESIDE) * GIB if peaks else None


def block_jobs(study: Study, state: StudyState, folder: StudyFolder) -> list[Job]:
    """Every run of the study, block by block, its folder made where it is missing.

    In a block what does not train comes first: the others use its images as their reference.

    UserError where a folder was begun with other settings.
    """
    jobs: list[Job] = []
    for block in study.all_blocks:
        for column in sorted(study.columns, key=study.trained):
            recipe = study.recipe(column, block, state)
            run = folder.run(column.id, block)
            info = {
                "method": column.method,
                "study": study.name,
                "column": column.id,
                "block": block,
                "added": block > study.blocks or column.id in state.added_columns,
                "base": recipe.base,
            }
            jobs.append(Job(column, _begun(run, recipe, info, study), recipe, block))
    return jobs


def renew(study: Study, state: StudyState, jobs: Sequence[Job], block: int) -> None:
    """Give the block's planned runs the images that its speeds, now settled, make of the budget."""
    for job in jobs:
        if job.block == block and job.folder.status == "planned":
            job.recipe = study.recipe(job.column, block, state)
            _begun(job.folder, job.recipe, {}, study)


def trial_jobs(
    study: Study,
    state: StudyState,
    folder: StudyFolder,
    grids: Mapping[str, Sequence[float]],
) -> list[Job]:
    """The trials of these columns' learning rates, the columns taking turns."""
    jobs: list[Job] = []
    for place in range(max(map(len, grids.values()), default=0)):
        for key in (key for key, grid in grids.items() if place < len(grid)):
            column, lr = study.column(key), grids[key][place]
            recipe = study.trial(column, lr, state)
            run = RunFolder(folder.path / "trials" / column.id / f"lr-{lr:g}")
            info = {"method": column.method, "study": study.name, "column": column.id, "trial": lr}
            jobs.append(Job(column, _begun(run, recipe, info, study), recipe, None))
    return jobs


def _begun(run: RunFolder, recipe: Recipe, info: dict[str, object], study: Study) -> RunFolder:
    if not run.exists:
        images = recipe.budget.images if recipe.choices.trains else 0
        run.create(
            recipe.to_toml(),
            {
                **info,
                "id": f"{recipe.digest}-{recipe.seed}",
                "seed": recipe.seed,
                "budget_images": images,
            },
        )
        return run
    begun = Recipe.from_toml(run.recipe_path)
    if _only_images_differ(begun, recipe) and run.status == "planned":
        write_text_atomic(run.recipe_path, recipe.to_toml())
        images = recipe.budget.images if recipe.choices.trains else 0
        run.update(id=f"{recipe.digest}-{recipe.seed}", budget_images=images)
    elif (begun.digest, begun.seed) != (recipe.digest, recipe.seed):
        raise UserError(
            f"{run.path} was begun with other settings ({_difference(begun, recipe)}) than "
            f"{study.name}'s study.toml has now; put them back, or start anew with --out."
        )
    moved(run, recipe)
    return run


def _only_images_differ(before: Recipe, now: Recipe) -> bool:
    alike = (r.model_copy(update={"budget": Budget(images=1)}) for r in (before, now))
    same = len({(recipe.digest, recipe.seed) for recipe in alike}) == 1
    return same and before.digest != now.digest


def going_on(begun: Recipe, asked: Recipe) -> Where:
    """Where a run takes place that was begun: with as many processes as are asked for now, and
    with or without gradient checkpointing, so that what had no room can go on."""
    now: dict[str, object] = {"gradient_checkpointing": asked.where.gradient_checkpointing}
    if begun.where.processes != asked.where.processes:
        now |= {"threads": asked.where.threads, "processes": asked.where.processes}
    return begun.where.model_copy(update=now)


def moved(run: RunFolder, recipe: Recipe) -> None:
    """Write down where the run's images lie now and, unless it is finished, how it goes on.

    That the images are the same was seen before.
    """
    begun = Recipe.from_toml(run.recipe_path)
    where = begun.where if run.status == "finished" else going_on(begun, recipe)
    now = begun.model_copy(update={"data": recipe.data, "where": where})
    if now != begun:
        write_text_atomic(run.recipe_path, now.to_toml())


def _difference(before: Recipe, now: Recipe) -> str:
    """The first setting in which two recipes differ, dotted."""
    old, new = before.model_dump(mode="json"), now.model_dump(mode="json")
    path: list[str] = []
    while isinstance(old, dict) and isinstance(new, dict):
        keys = [k for k in {**old, **new} if k != "where" and old.get(k) != new.get(k)]
        if not keys:
            break
        path.append(keys[0])
        old, new = old.get(keys[0]), new.get(keys[0])
    return f"{'.'.join(path)} = {old}"
