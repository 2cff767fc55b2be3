"""Networks that predict from (x_t, t, condition); the registry finds them by name."""

from kurabe.backbones.base import Backbone, Output
from kurabe.backbones.patch import PatchTransformer

__all__ = ["Backbone", "Output", "PatchTransformer"]
