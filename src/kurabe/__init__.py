"""Kurabe puts diffusion methods side by side, on your own images.

`fit`, `study`, `compare`, `load` and `report` are the public functions; they are imported when
first asked for, so that `import kurabe` costs nothing and needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kurabe.api import compare, fit, load, report, study

__version__ = "0.1.0"
__all__ = ["__version__", "compare", "fit", "load", "report", "study"]


def __getattr__(name: str) -> Any:
    if name in ("compare", "fit", "load", "report", "study"):
        return getattr(import_module("kurabe.api"), name)
    raise AttributeError(f"module 'kurabe' has no attribute '{name}'")
