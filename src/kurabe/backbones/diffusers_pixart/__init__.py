"""`PixArtTransformer2DModel`: what is read from its configuration; `.network` runs it."""

from collections.abc import Mapping
from typing import Any

from kurabe.bases.architecture import Architecture
from kurabe.registry import Idea


class PixArt2D(Architecture):
    """The transformer of PixArt-α and PixArt-Σ (Chen et al. 2024), told a text by a T5 encoder."""

    called_before = "ada_norm_single"

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        given, taken = config.get("in_channels", cls.channels), config.get("out_channels", 8)
        if taken not in (None, given, 2 * given):
            raise ValueError(
                f"in_channels = {given}, out_channels = {taken}: the network predicts neither the "
                "noise alone nor a variance beside it; use a base of PixArt-α or Σ"
            )

    @classmethod
    def condition(cls, config: Mapping[str, Any]) -> str:
        return "masked-states"


IDEAS = (Idea("backbones", "PixArtTransformer2DModel", f"{__name__}.network:PixArt", PixArt2D),)
