"""Files of a study that tables read again and again, kept while they are what they were."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from kurabe.errors import UserError
from kurabe.recipe import Recipe
from kurabe.records import Ledger


@dataclass(frozen=True)
class Tried:
    """A column's learning-rate trials: how many rates, and whether the best lies at an end."""

    rates: int
    on_edge: bool


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """What is another once a file was written anew; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


@lru_cache(maxsize=512)
def recipe_at(path: Path, stamp: object) -> Recipe | None:
    """The recipe in a file as it is at that stamp; None where it is none."""
    try:
        return Recipe.from_toml(path)
    except UserError:
        return None


def tried_at(path: Path) -> dict[str, Tried]:
    """What study.json tells of learning rates; nothing where it is missing or no such file."""
    try:
        found = json.loads(path.read_text("utf-8"))["learning_rates"]
        return {key: Tried(len(of["losses"]), bool(of["on_edge"])) for key, of in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


@lru_cache(maxsize=2048)
def openings_at(path: Path, stamp: object) -> tuple[tuple[str, str, str], ...]:
    """A ledger's openings as checkpoint, data and purpose."""
    entries = Ledger(path).entries() if stamp else []
    return tuple((str(e["checkpoint"]), str(e["data"]), str(e["purpose"])) for e in entries)
