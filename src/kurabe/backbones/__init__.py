"""Networks that predict from (x_t, t, condition); the registry finds them by name.

What is imported from here needs torch; the folders' own first modules, which say what there is, do
not.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kurabe.backbones.base import Backbone, Output
    from kurabe.backbones.patch import PatchTransformer

__all__ = ["Backbone", "Output", "PatchTransformer"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    part = "patch" if name == "PatchTransformer" else "base"
    return getattr(importlib.import_module(f"{__name__}.{part}"), name)
