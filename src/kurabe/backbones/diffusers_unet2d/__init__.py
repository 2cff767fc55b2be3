"""`UNet2DModel`: what is read from its configuration; `.network` runs it."""

from collections.abc import Mapping
from typing import Any

from kurabe.bases.architecture import Architecture, halved
from kurabe.registry import Idea


class UNet2D(Architecture):
    """A U-Net that is told nothing besides the image and the time."""

    channels = 3

    @classmethod
    def granule(cls, config: Mapping[str, Any]) -> int:
        return halved(config)

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        if config.get("num_class_embeds") or config.get("class_embed_type"):
            raise ValueError(
                "the network asks for a class and has none that means no class; use a base "
                "without num_class_embeds and class_embed_type"
            )
        if config.get("time_embedding_type", "positional") == "fourier":
            raise ValueError(
                "time_embedding_type = fourier belongs to noise without a bound, which no "
                "schedule here has; use a base with positional times"
            )


IDEAS = (Idea("backbones", "UNet2DModel", f"{__name__}.network:UNet", UNet2D),)
