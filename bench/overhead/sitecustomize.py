"""Imported by every Python process of a measured study: seconds of processor time by kind.

A process writes them into the folder OVERHEAD when it ends. A function's time is its own kind's,
but for what functions of other kinds take inside it; what none accounts for is the start: Python,
imports, the command itself.
"""

import atexit
import json
import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

# Module that calls the function → function → kind.
KINDS = {
    "kurabe.training.loop": {
        "update": "training",
        "_measure": "on the way",
        "_flops_per_image": "on the way",
        "_save": "writing",
        "_finish": "writing",
    },
    "kurabe.runs.stages": {
        "load_images": "data",
        "kept_images": "data",
        "split_images": "data",
        "_draw": "drawing",
        "_write_grids": "writing",
        "measure": "measuring",
    },
    "kurabe.evaluation.image_rows": {"_real_rows": "references", "_marks": "references"},
    "kurabe.evaluation.evaluate": {"_base_samples": "references"},
}
_spent: dict[str, float] = {}
_kinds: list[str] = ["start"]
_since = time.process_time()
_trial = False
_own = 0


def _turn() -> None:
    """Book what has passed on the kind that is on."""
    global _since
    now = time.process_time()
    kind = _kinds[-1]
    kind = "trials" if _trial and kind != "training" else kind
    _spent[kind] = _spent.get(kind, 0.0) + now - _since
    _since = now


def _timed(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        _turn()
        _kinds.append(kind)
        try:
            return function(*args, **kwargs)
        finally:
            _turn()
            _kinds.pop()

    return inner


def _timed_run(function: Callable[..., Any]) -> Callable[..., Any]:
    def inner(folder: Any) -> Any:
        global _trial, _own
        _turn()
        _trial, _own = "trial" in folder.info, 0
        try:
            return function(folder)
        finally:
            _turn()
            _trial = False

    return inner


def _timed_features(function: Callable[..., Any]) -> Callable[..., Any]:
    """Of several models the first one measured is the run's own; the rest are references."""

    def inner(source: Any, *args: Any) -> Any:
        global _own
        is_model = hasattr(source, "model")
        _own += is_model
        kind = "measuring" if is_model and _own == 1 else "references"
        return _timed(kind, function)(source, *args)

    return inner


def _patch(module: ModuleType) -> None:
    for name, kind in KINDS.get(module.__name__, {}).items():
        if hasattr(module, name):
            setattr(module, name, _timed(kind, getattr(module, name)))
    if module.__name__ == "kurabe.runs.stages":
        module.__dict__["go_on"] = _timed_run(module.__dict__["go_on"])
    if module.__name__ == "kurabe.evaluation.references":
        module.__dict__["represent"] = _timed_features(module.__dict__["represent"])


class _Patching(Loader):
    """Another loader, and the timers once the module is there."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        _patch(module)


class _Finder:
    """Puts the timers in where one of the modules is imported."""

    @staticmethod
    def find_spec(name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name not in KINDS and name != "kurabe.evaluation.references":
            return None
        for finder in sys.meta_path:
            if finder is not _Finder and (spec := finder.find_spec(name, path, target)):
                assert spec.loader is not None
                spec.loader = _Patching(spec.loader)
                return spec
        return None


def _write() -> None:
    _turn()
    place = Path(os.environ["OVERHEAD"]) / f"{os.getpid()}.json"
    place.write_text(json.dumps(_spent), encoding="utf-8")


if "OVERHEAD" in os.environ:
    # The process's time from before this module belongs to the start.
    _since = 0.0
    sys.meta_path.insert(0, _Finder)  # pyright: ignore[reportArgumentType]
    atexit.register(_write)
