"""`DiTTransformer2DModel`: what is read from its configuration; `.network` runs it."""

from kurabe.bases.architecture import Architecture
from kurabe.registry import Idea


class DiT2D(Architecture):
    """A transformer that is told a class (Peebles & Xie 2023)."""

    called_before = "ada_norm_zero"


IDEAS = (Idea("backbones", "DiTTransformer2DModel", f"{__name__}.network:DiT", DiT2D),)
