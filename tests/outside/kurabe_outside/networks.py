"""The backbone and the encoder, which need torch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from kurabe.backbones import Backbone, Output
from kurabe.encoders import Encoder


class ConvolutionBackbone(Backbone):
    """Two convolutions with the time added between them; features on a grid of 2×2 pixels."""

    def __init__(self, image_size: tuple[int, int], in_channels: int, *, width: int = 16) -> None:
        super().__init__()
        self.image_size, self.in_channels, self.patch = image_size, in_channels, 2
        self.token_grid = (image_size[0] // 2, image_size[1] // 2)
        self.feature_layers, self.feature_dim = ("hidden",), width
        self.into = nn.Conv2d(in_channels, width, 3, padding=1)
        self.time = nn.Linear(1, width)
        self.out = nn.Conv2d(width, in_channels, 3, padding=1)

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        keep: Tensor | None = None,
        layers: Sequence[str] = (),
    ) -> Output:
        hidden = torch.relu(self.into(x_t) + self.time(t.reshape(-1, 1))[:, :, None, None])
        tokens = nn.functional.avg_pool2d(hidden, 2).flatten(2).transpose(1, 2)
        return Output(self.out(hidden), dict.fromkeys(layers, tokens))


class Thumbnail(Encoder):
    """Mean colours of 4×4 cells."""

    name, identity = "thumbnail", "thumbnail 1"

    def __init__(self, channels: int) -> None:
        self.dim = 16 * channels

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        return nn.functional.adaptive_avg_pool2d(images, 4).flatten(1).numpy()


def thumbnail(of: str, size: int, channels: int, device: torch.device) -> Encoder:
    """The encoder, whatever stands behind its name."""
    return Thumbnail(channels)
