"""The runs of a study as jobs: which folders there are to be, and which are done already.

A job is a run folder with its recipe in it, so that a worker needs nothing but the folder. What a
folder was begun with is never replaced: a study whose settings changed afterwards is refused.
"""

from dataclasses import dataclass

from kurabe.errors import UserError
from kurabe.recipe import Recipe
from kurabe.records import RunFolder, StudyFolder
from kurabe.studies.state import StudyState
from kurabe.studies.study import Column, Study


@dataclass(frozen=True)
class Job:
    """One run to be done; block is None for a learning-rate trial."""

    column: Column
    folder: RunFolder
    recipe: Recipe
    block: int | None

    @property
    def finished(self) -> bool:
        """Whether the run is finished, by this command or an earlier one."""
        return self.folder.status == "finished"

    @property
    def over(self) -> bool:
        """Whether the run has ended, well or not."""
        return self.folder.status in ("finished", "failed")


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


def trial_jobs(study: Study, state: StudyState, folder: StudyFolder) -> list[Job]:
    """The learning-rate trials of the columns that have no learning rate from trials yet."""
    jobs: list[Job] = []
    for column in study.columns:
        if not study.trained(column) or column.id in state.learning_rates:
            continue
        for lr in study.trials.grid(study.default_lr(column)):
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
    if (begun.digest, begun.seed) != (recipe.digest, recipe.seed):
        raise UserError(
            f"{run.path} was begun with other settings ({_difference(begun, recipe)}) than "
            f"{study.name}'s study.toml has now; put them back, or start anew with --out."
        )
    return run


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
