"""Every record that is shipped holds what the types name, and nothing besides."""

import json
import types
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from kurabe.records import SHIPPED, Info, Scores

RUNS = sorted(SHIPPED.rglob("run.json"))
SCORES = sorted(SHIPPED.rglob("scores/*.json"))


def misfits(value: Any, kind: Any, place: str = "") -> list[str]:
    """Where a value read from JSON is not of that type: a sentence each."""
    if kind is Any:
        return []
    if get_origin(kind) in (Union, types.UnionType):
        tried = [misfits(value, one, place) for one in get_args(kind)]
        return [] if [] in tried else tried[0]
    if is_typeddict(kind):
        hints = get_type_hints(kind)
        if not isinstance(value, dict):
            return [f"{place} is {value!r}, not a table"]
        unknown = [
            f"{place}.{key} is no field of {kind.__name__}" for key in value if key not in hints
        ]
        known = value.keys() & hints.keys()
        return unknown + [m for k in known for m in misfits(value[k], hints[k], f"{place}.{k}")]
    if get_origin(kind) is dict:
        if not isinstance(value, dict):
            return [f"{place} is {value!r}, not a table"]
        return [m for k, v in value.items() for m in misfits(v, get_args(kind)[1], f"{place}.{k}")]
    if get_origin(kind) is list:
        if not isinstance(value, list):
            return [f"{place} is {value!r}, not a list"]
        return [m for v in value for m in misfits(v, get_args(kind)[0], place)]
    # A whole number is written for a fraction too, as in Python; a truth value is neither.
    fits = type(value) is kind or (kind is float and type(value) is int)
    return [] if fits else [f"{place} is {value!r}, not {kind}"]


def test_there_are_shipped_records() -> None:
    assert len(RUNS) >= 75 and len(SCORES) >= 75


@pytest.mark.parametrize(("paths", "kind"), [(RUNS, Info), (SCORES, Scores)], ids=["run", "scores"])
def test_every_shipped_record_is_of_its_type(paths: list[Path], kind: type) -> None:
    found = [f"{path}: {m}" for path in paths for m in misfits(json.loads(path.read_text()), kind)]
    assert found == []


def test_what_is_not_of_its_type_is_found() -> None:
    assert misfits({"seed": "1"}, Info) == [".seed is '1', not <class 'int'>"]
    assert misfits({"sede": 1}, Info) == [".sede is no field of Info"]
    assert misfits({"added": 1}, Info) and misfits({"seed": True}, Info)
    assert misfits({"metrics": {"kid": {"value": "x"}}}, Scores)
    assert misfits({"metrics": {"kid": {"references": {"floor": []}}}}, Scores)
