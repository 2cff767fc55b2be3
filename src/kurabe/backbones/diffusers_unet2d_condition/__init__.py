"""`UNet2DConditionModel`: what is read from its configuration; `.network` runs it."""

from collections.abc import Mapping
from typing import Any

from kurabe.bases.architecture import Architecture, halved
from kurabe.registry import Idea

# What some networks are told besides a text.
_UNGIVEN = ("class_embed_type", "encoder_hid_dim_type", "time_cond_proj_dim", "num_class_embeds")


class TextUNet2D(Architecture):
    """The U-Net of Stable Diffusion 1.x, 2.x and XL."""

    @classmethod
    def granule(cls, config: Mapping[str, Any]) -> int:
        return halved(config)

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        for setting in _UNGIVEN:
            if config.get(setting):
                raise ValueError(
                    f"{setting} = {config[setting]}: the network asks for more than a text; use "
                    "a base of Stable Diffusion 1.x, 2.x or XL"
                )
        if config.get("addition_embed_type") not in (None, "text_time"):
            raise ValueError(
                f"addition_embed_type = {config['addition_embed_type']}; Kurabe can use "
                "text_time, that of Stable Diffusion XL"
            )
        given, taken = config.get("in_channels", 4), config.get("out_channels", 4)
        if given != taken:
            raise ValueError(
                f"in_channels = {given}, out_channels = {taken}: the network asks for an image "
                "to go on from; use a base that draws from noise alone"
            )

    @classmethod
    def condition(cls, config: Mapping[str, Any]) -> str:
        return "last-states" if config.get("addition_embed_type") is None else "joined-states"


IDEAS = (Idea("backbones", "UNet2DConditionModel", f"{__name__}.network:TextUNet", TextUNet2D),)
