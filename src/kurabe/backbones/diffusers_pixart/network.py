"""The transformer of PixArt-α (Chen et al. 2024, "PixArt-α", section 2.3) as a backbone."""

from typing import Any, cast

from torch import Tensor, nn

from kurabe.backbones.diffusers_frame.network import Listening, of_blocks


class PixArt(Listening):
    """`PixArtTransformer2DModel`: layers "block-1" …, the streams behind them.

    A row of zeros in what it is told is no token, and not attended to. Where it predicts a variance
    beside the noise, the second half of its channels, that half is left out, as DiT's is. One that
    is told the size of an image and how wide it is for its height is told those of what is drawn.
    """

    def __init__(self, network: nn.Module, steps: int, offset: int, side: int = 1) -> None:
        super().__init__(network, steps, offset, side)
        width = self.config["caption_channels"] or self.config["cross_attention_dim"]
        self.reads = (width, 0)

    def predict(self, x_t: Tensor, timestep: Tensor, condition: Tensor | None) -> Tensor:
        states, _ = self.said(x_t, condition)
        transformer = cast(Any, self.network)
        sizes: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if transformer.use_additional_conditions:
            height, width = (float(side * self.side) for side in self.image_size)
            size = states.new_tensor([[height, width]]).expand(len(x_t), -1)
            ratio = states.new_full((len(x_t), 1), height / width)
            sizes = {"resolution": size, "aspect_ratio": ratio}
        attended = states.any(-1).to(x_t.dtype)
        prediction = transformer(
            x_t, states, timestep, sizes, encoder_attention_mask=attended
        ).sample
        return prediction[:, : self.in_channels]

    def _taps(self) -> tuple[dict[str, nn.Module], dict[str, tuple[int, tuple[int, int]]]]:
        return of_blocks(cast(Any, self.network), self.image_size)
