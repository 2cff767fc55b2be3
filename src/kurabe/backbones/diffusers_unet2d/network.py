"""The U-Net of the diffusers library as a backbone."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from kurabe.backbones.base import table
from kurabe.backbones.diffusers_frame.network import DiffusersBackbone
from kurabe.bases.architecture import halved
from kurabe.sizes import Sides, times


class UNet(DiffusersBackbone):
    """`UNet2DModel`: layers "down-1" …, "middle", "up-1" …, from input to output."""

    def take_classes(self, count: int) -> None:
        unet = cast(Any, self.network)
        none = torch.zeros(unet.time_embedding.linear_2.out_features)
        if unet.class_embedding is not None:
            none = unet.class_embedding.weight[self.num_classes].detach().clone()
        unet.class_embedding = table(none, count)
        unet.register_to_config(num_class_embeds=count + 1)
        self.num_classes, self.fresh = count, frozenset({"network.class_embedding.weight"})

    def take_sizes(self, sizes: Sequence[Sides], trained: bool) -> None:
        granule = halved(self.config) * self.side
        if any(side % granule for size in sizes for side in size):
            raise ValueError(f"sides of what it draws are multiples of {granule} pixels")

    def resize(self, image_size: Sides) -> None:
        if any(side % halved(self.config) for side in image_size):
            raise ValueError(
                f"its sides are multiples of {halved(self.config) * self.side} pixels, and those "
                f"of {times((image_size[0] * self.side, image_size[1] * self.side))} are not"
            )
        self.image_size = image_size
        cast(Any, self.network).register_to_config(sample_size=list(image_size))
        self._lay_out()

    def predict(self, x_t: Tensor, timestep: Tensor, condition: Tensor | None) -> Tensor:
        if self.num_classes and condition is None:
            condition = torch.full_like(timestep, self.num_classes, dtype=torch.long)
        return self.network(x_t, timestep, class_labels=condition).sample

    def _taps(self) -> tuple[dict[str, nn.Module], dict[str, tuple[int, tuple[int, int]]]]:
        unet = cast(Any, self.network)
        taps: dict[str, nn.Module] = {}
        shapes: dict[str, tuple[int, tuple[int, int]]] = {}
        (rows, columns), dim = self.image_size, 0

        def tap(name: str, block: nn.Module) -> None:
            taps[name], shapes[name] = block, (dim, (rows, columns))

        for number, block in enumerate(unet.down_blocks, 1):
            dim = _width(block)
            if getattr(block, "downsamplers", None) is not None:
                rows, columns = (rows + 1) // 2, (columns + 1) // 2
            tap(f"down-{number}", block)
        if unet.mid_block is not None:
            tap("middle", unet.mid_block)
        for number, block in enumerate(unet.up_blocks, 1):
            dim = _width(block)
            if getattr(block, "upsamplers", None) is not None:
                rows, columns = rows * 2, columns * 2
            tap(f"up-{number}", block)
        return taps, shapes


def _width(block: Any) -> int:
    return block.resnets[-1].out_channels
