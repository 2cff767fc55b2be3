"""One method trained once: `kurabe fit`, through the same worker as a study's runs.

The folder follows the digest of what was asked for, a budget in seconds included, so the same
request finds its folder again; the seconds become images once, when the run begins.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kurabe.data import ImageSet
from kurabe.errors import RunFailed, UserError
from kurabe.execution.job import Job
from kurabe.execution.local import HERE
from kurabe.execution.pool import Pool, run_jobs
from kurabe.files import check_place
from kurabe.methods import find
from kurabe.recipe import Budget, Recipe
from kurabe.records import RunFolder
from kurabe.records.lock import FolderBusy, writing
from kurabe.records.surroundings import cores
from kurabe.runs.images import check_same_images, check_told, load_images
from kurabe.runs.precision import check_device, settled_device
from kurabe.runs.teachers import check_measured_by_another
from kurabe.studies import begin, calibration, disk
from kurabe.studies.jobs import going_on, moved
from kurabe.studies.plan import about_buckets
from kurabe.studies.progress import Board, Clock, beside_training
from kurabe.studies.state import StudyState
from kurabe.studies.study import Column, Study, parse_budget

# How long a worker may take to save after the command that began it was killed, in seconds.
ORPHAN = 5.0


@dataclass(frozen=True)
class Single:
    """What was asked for; None where nothing was said."""

    method: str
    source: str
    base: str | None = None
    seed: int = 0
    budget: str | None = None
    size: int | str | None = None
    channels: int | None = None
    device: str = "auto"
    encoder: str | None = None
    settings: dict[str, Any] | None = None
    prompt: str | None = None
    processes: int = 1
    aspects: str | tuple[str, ...] | None = None


def fit_single(wanted: Single, out: Path | None, lang: str) -> RunFolder:
    """Train and measure, or go on; UserError for what is wrong, RunFailed where the run fails."""
    study = single_study(wanted)
    column = study.columns[0]
    asked = study.recipe(column, 1, StudyState(rates={column.id: 1.0}))
    check_device(study.device)
    check_measured_by_another(asked)
    images = load_images(study.data)
    check_told(asked.choices, images)
    for line in about_buckets(study, images, lang):
        print(line)
    name = f"{column.id}-{asked.digest}-{images.digest[:6]}-seed{wanted.seed}"
    folder = RunFolder(out or Path("runs") / name)
    check_place(folder.path, folder=True)
    folder.path.mkdir(parents=True, exist_ok=True)
    # Held to the end: a second command never touches what this one trains and records.
    with writing(folder.path / ".fit.lock"):
        _await_orphan(folder)
        return _trained(study, asked, folder, images, wanted, lang)


def _await_orphan(folder: RunFolder) -> None:
    """Let a worker whose command was killed save its state; FolderBusy where it is none such."""
    deadline = time.monotonic() + ORPHAN
    while folder.is_being_written:
        if time.monotonic() > deadline:
            raise FolderBusy(f"{folder.path} is being written by another process; wait for it.")
        time.sleep(0.1)


def _trained(
    study: Study,
    asked: Recipe,
    folder: RunFolder,
    images: ImageSet,
    wanted: Single,
    lang: str,
) -> RunFolder:
    """Begin the run or go on with it, until it is finished; RunFailed where it fails."""
    column = study.columns[0]
    if folder.exists:
        recipe = _same(Recipe.from_toml(folder.recipe_path), asked, folder)
        _check_budget(folder, wanted)
        check_same_images([folder], images, wanted.source, "give this one another --out")
        moved(folder, recipe)
        rates = {column.id: folder.info.get("calibrated") or 0.0}
    else:
        rates = _rates(study, folder)
        recipe = study.recipe(column, 1, StudyState(rates=rates))
        planned = recipe.budget.images if recipe.choices.trains else 0
        folder.create(
            recipe.to_toml(),
            {
                "id": f"{recipe.digest}-{recipe.seed}",
                "method": recipe.method,
                "column": column.id,
                "seed": recipe.seed,
                "budget_images": planned,
                "calibrated": rates.get(column.id),
                "budget_asked": study.budget.model_dump(exclude_none=True),
            },
        )
    job = Job(column, folder, recipe, 1)
    names = {column.id: find(column.method).card.name.of(lang)}
    clock = Clock(rates, 1, beside_training(recipe.evaluation, rates))
    with Pool(HERE) as pool, Board([job], clock, names, lang) as board:
        run_jobs([job], 1, pool, board.look, board.ended)
    if not job.finished:
        raise RunFailed(folder.info.get("error") or f"{folder.path} was not finished.")
    return folder


def _same(begun: Recipe, asked: Recipe, folder: RunFolder) -> Recipe:
    """The recipe of a run that goes on; UserError where it is not what is asked for now.

    The budget is left out: seconds became images on the machine that began. How many processes
    share the run from now on, and what they keep for the way back, is what is asked for now.
    """
    known, wanted = (r.model_copy(update={"budget": Budget(images=1)}) for r in (begun, asked))
    if (known.digest, known.seed) != (wanted.digest, wanted.seed):
        raise UserError(
            f"{folder.path} holds a run of {begun.method} on {begun.data.source} with other "
            "settings than these; give this one another --out."
        )
    return begun.model_copy(update={"data": asked.data, "where": going_on(begun, asked)})


def _check_budget(folder: RunFolder, wanted: Single) -> None:
    """UserError where the run was begun with another budget than the one asked for now."""
    if wanted.budget is None:
        return
    asked = parse_budget(wanted.budget).model_dump(exclude_none=True)
    info = folder.info
    known = info.get("budget_asked", {"images": info.get("budget_images")})
    if asked != known and ("budget_asked" in info or "images" in asked):
        ((unit, amount),) = known.items()
        raise UserError(
            f"{folder.path} was begun with a budget of {amount:,} {unit}, not with --budget "
            f"{wanted.budget}; leave --budget out, or give this one another --out."
        )


def single_study(wanted: Single) -> Study:
    """The request as a study of one column and one block, on all cores."""
    method = find(wanted.method)
    device = settled_device(wanted.device)
    for key in {"seed", "budget", "method", "base"} & (wanted.settings or {}).keys():
        way = "the method's name alone" if key == "method" else f"--{key}"
        raise UserError(f"--set {key}: this is no setting of the recipe here; give {way}.")
    request = begin.Request(
        source=wanted.source, base=wanted.base, budget=wanted.budget, seeds=1,
        size=wanted.size, channels=wanted.channels, first_seed=wanted.seed,
        encoder=wanted.encoder, prompt=wanted.prompt, aspects=wanted.aspects,
    )  # fmt: skip
    study = begin.of_images(request, (method.id,))
    column = Column(id=method.id, method=method.id, overrides=wanted.settings or {})
    return study.changed(
        columns=[column.model_dump(mode="json")],
        baseline=method.id,
        device=device,
        threads=max(1, cores() // wanted.processes),
        processes=wanted.processes,
        workers=1,
    )


def _rates(study: Study, folder: RunFolder) -> dict[str, float]:
    """The column's speed; UserError where its run has no room."""
    trained = study.trained(study.columns[0])
    state = StudyState()
    rates = calibration.calibrate(study, state, HERE) if trained else {}
    disk.check(sum(disk.needed(study, state, [(study.columns[0], 1)], 1)), folder.path)
    return rates
