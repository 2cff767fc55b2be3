"""Records as they are read back: what a hand, another version or a bad disk made of them is named.

Whoever reads many records goes on with the next one; so what is wrong with one is a UserError,
whatever is wrong, and what is right has the types that its readers count on. No mathematics.
"""

import json
import math
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from kurabe.errors import UserError, refusal
from kurabe.records.types import Scores

# The fields of run.json that others compute with or look up by; None stands for "not known".
_TEXTS = ("id", "method", "study", "column", "started", "finished", "data_digest", "error", "base",
          "base_commit")  # fmt: skip
_NUMBERS = (
    "block", "seed", "images_seen", "budget_images", "seconds", "beside_seconds", "calibrated",
    "training_images", "trainable_parameters", "total_parameters", "stored_bytes", "peak_memory",
    "prepared_passes", "prepared_images", "prepared_seconds",
)  # fmt: skip
_TABLES = ("hardware", "libraries")
# What an index and a page can hold; no count of images comes near.
_GREATEST = 2**62


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; UserError for anything else, FileNotFoundError for none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path} is not a file; move it away and give the same command again.")
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(str(refusal(error))) from None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a JSON object: it is damaged, or Kurabe did not write it.")
    return cast(dict[str, Any], value)


def check_info(path: Path, info: Mapping[str, Any], statuses: Sequence[str]) -> None:
    """UserError where a field of run.json is not what others take it for."""
    if info.get("status") not in statuses:
        raise _wrong(path, "status", info.get("status"), f"none of {', '.join(statuses)}")
    for key in _TEXTS:
        if not isinstance(value := info.get(key), str | None):
            raise _wrong(path, key, value, "not a text")
    for key in _NUMBERS:
        if not _is_number(value := info.get(key)):
            raise _wrong(path, key, value, "not a number")
    for key in _TABLES:
        if not isinstance(value := info.get(key), dict | None):
            raise _wrong(path, key, value, "not a table")
    shape = info.get("image_shape")
    if shape is not None and not _is_shape(shape):
        raise _wrong(path, "image_shape", shape, "not height, width and channels")


def check_scores(path: Path, scores: dict[str, Any]) -> Scores:
    """The scores as they are; UserError where a metric is not what a table takes it for."""
    metrics: Any = scores.get("metrics", {})
    if not isinstance(metrics, dict):
        raise _wrong(path, "metrics", metrics, "not a table")
    for name, entry in cast(dict[str, Any], metrics).items():
        if not isinstance(entry, dict):
            raise _wrong(path, name, entry, "not a table")
        known = cast(dict[str, Any], entry)
        if not _is_number(value := known.get("value")):
            raise _wrong(path, name, value, "not a number")
        references: Any = known.get("references") or {}
        if not isinstance(references, dict):
            raise _wrong(path, f"{name}.references", references, "not a table")
        for key, value in cast(dict[str, Any], references).items():
            if not _is_number(value):
                raise _wrong(path, f"{name}.references.{key}", value, "not a number")
        if not isinstance(detail := known.get("detail") or {}, dict):
            raise _wrong(path, f"{name}.detail", detail, "not a table")
    return cast(Scores, scores)


def _is_number(value: object) -> bool:
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < _GREATEST


def _is_shape(value: object) -> bool:
    if not isinstance(value, list):
        return False
    sides = cast(list[object], value)
    return len(sides) == 3 and all(isinstance(side, int) and 0 < side < 10**6 for side in sides)


def _wrong(path: Path, key: str, value: object, what: str) -> UserError:
    shown = repr(value)
    shown = shown if len(shown) <= 40 else f"{shown[:39]}…"
    return UserError(f"{path}: {key} = {shown} is {what}; the file is damaged.")
