"""Networks that predict from (x_t, t, condition); `BACKBONES` finds them by name."""

from kurabe.backbones.base import Backbone, Output
from kurabe.backbones.patch import PatchTransformer

BACKBONES: dict[str, type[Backbone]] = {"patch": PatchTransformer}

__all__ = ["BACKBONES", "Backbone", "Output", "PatchTransformer"]
