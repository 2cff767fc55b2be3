"""What a run changed, by Kurabe's own names: one safetensors file that says what it is.

Its header holds the adaptation's settings, the base's name and where the run came from; `kurabe
adapter check` reads it again. Every adaptation has this form.
"""

from pathlib import Path

from kurabe.errors import UserError
from kurabe.exports.described import strings, write
from kurabe.exports.place import file_for
from kurabe.recipe import Recipe
from kurabe.records import RunFolder
from kurabe.training import load_model

ADAPTATION, BASE = "kurabe.adaptation", "kurabe.base"


def export(run: RunFolder, out: Path) -> None:
    """Write the file; UserError where the run changed nothing."""
    path = file_for(out)
    recipe, model = Recipe.from_toml(run.recipe_path), load_model(run.path)
    state = model.adaptation.state()
    if not state:
        raise UserError(f"{run.path} changed nothing of its base, so there is nothing to write.")
    facts = {
        ADAPTATION: recipe.choices.adaptation.model_dump(mode="json"),
        BASE: recipe.base,
        "kurabe.method": recipe.method,
        "kurabe.recipe": recipe.digest,
        "kurabe.initialisation": recipe.initialisation,
        "kurabe.seed": recipe.seed,
        "kurabe.data": recipe.data.source,
        "kurabe.images_seen": run.info.get("images_seen"),
        "kurabe.trainable": run.info.get("trainable"),
    }
    tensors = {name: of.detach().cpu().contiguous().clone() for name, of in state.items()}
    write(path, tensors, strings(facts))
