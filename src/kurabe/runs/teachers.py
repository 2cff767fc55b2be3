"""What taught a network, and what measures it: two that must have nothing in common. No torch.

A network learned from the base that it started from, from the encoders that its terms followed,
and, where one of these is a run, from all that this one learned from. None of them may measure it,
nor an encoder that learned from one of them, by whatever name or path it is called
(docs/decisions/0023).
"""

import hashlib
from pathlib import Path

from kurabe import bases
from kurabe.errors import UserError
from kurabe.recipe import Recipe
from kurabe.records import RunFolder

# Weights are told apart by their sizes and by so many pieces of so many bytes: reading all of a
# large model takes minutes.
PIECES, PIECE = 64, 4096


def check_measured_by_another(recipe: Recipe) -> None:
    """UserError where the encoder that measures is one that the network learned from, or learned
    from one of those."""
    taught = _teachers(recipe, frozenset())
    if not taught:
        return
    encoder = recipe.evaluation.encoder
    for identity in _lineage(encoder, frozenset()):
        if identity in taught:
            raise UserError(
                f"{recipe.method} learned from {taught[identity]}, and the encoder {encoder} "
                "measures with what that one knows, so that its scores would be a pupil's marks "
                "by its own teacher; measure with another encoder (--encoder)."
            )


def _teachers(recipe: Recipe, seen: frozenset[Path]) -> dict[str, str]:
    """What a recipe's network learned from: identities, and how each is called."""
    started = () if recipe.base is None else (f"base:{recipe.base}",)
    found: dict[str, str] = {}
    for name in (*started, *recipe.choices.followed):
        found |= _lineage(name, seen)
    return found


def _lineage(encoder: str, seen: frozenset[Path]) -> dict[str, str]:
    """The encoder of that name, and what it learned from, as far as that is on record."""
    kind, _, of = encoder.partition(":")
    if not of:
        return {kind: encoder}
    if kind != "base":
        place = Path(of)
        return {_weights(place) if place.is_dir() else f"{kind}:{of}": encoder}
    run = RunFolder(of)
    if of in bases.available() or not run.exists:
        return {_weights(bases.find(of).path): encoder}
    place = run.path.resolve()
    if place in seen:
        return {}
    recipe = Recipe.from_toml(run.recipe_path)
    own = f"{recipe.digest} {recipe.seed} {_weights(run.checkpoints)}"
    return {own: encoder, **_teachers(recipe, seen | {place})}


def _weights(folder: Path) -> str:
    """What tells the weights in a folder apart, wherever it lies; its place where it has none."""
    digest, files = hashlib.sha256(), sorted(folder.rglob("*.safetensors"))
    for path in (path for path in files if path.name != "state.safetensors"):
        size = path.stat().st_size
        digest.update(f"{size} ".encode())
        with path.open("rb") as file:
            for k in range(PIECES):
                file.seek(size * k // PIECES)
                digest.update(file.read(PIECE))
    return digest.hexdigest() if files else str(folder.resolve())
