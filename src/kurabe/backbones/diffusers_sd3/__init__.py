"""`SD3Transformer2DModel`: what is read from its configuration; `.network` runs it."""

from collections.abc import Mapping
from typing import Any

from kurabe.bases.architecture import Architecture
from kurabe.registry import Idea


class JointTransformer2D(Architecture):
    """The transformer of Stable Diffusion 3 and 3.5 (Esser et al. 2024)."""

    channels = 16

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        given = config.get("in_channels", cls.channels)
        taken = config.get("out_channels", cls.channels)
        if taken not in (given, None):
            raise ValueError(
                f"in_channels = {given}, out_channels = {taken}: the network predicts something "
                "besides the flow; use a base whose channels are the same"
            )

    @classmethod
    def condition(cls, config: Mapping[str, Any]) -> str:
        return "joint-texts"


IDEAS = (
    Idea("backbones", "SD3Transformer2DModel", f"{__name__}.network:Joint", JointTransformer2D),
)
