"""Joint attention over an image and a text (Esser et al. 2024, "Scaling rectified flow transformers
for high-resolution image synthesis", section 4), as a backbone."""

from typing import Any, ClassVar, cast

from torch import Tensor, nn

from kurabe.backbones.diffusers_frame.network import BLOCKS, Listening, of_blocks


class Joint(Listening):
    """`SD3Transformer2DModel`: layers "block-1" …, the image's stream behind them.

    Its attention has two sets of products, the image's and the text's; "attention" is both.
    """

    roles: ClassVar = {
        "all-linear": BLOCKS,
        "attention": BLOCKS + r".*\.(to_(q|k|v|out\.0)|add_(q|k|v)_proj|to_add_out)$",
    }

    def __init__(self, network: nn.Module, steps: int, offset: int, side: int = 1) -> None:
        super().__init__(network, steps, offset, side)
        self.reads = (self.config["joint_attention_dim"], self.config["pooled_projection_dim"])

    def predict(self, x_t: Tensor, timestep: Tensor, condition: Tensor | None) -> Tensor:
        states, pooled = self.said(x_t, condition)
        return self.network(x_t, states, pooled, timestep).sample

    def stream(self, output: Any) -> Tensor:
        """A block gives the text's stream, then the image's."""
        return output[1]

    def _taps(self) -> tuple[dict[str, nn.Module], dict[str, tuple[int, tuple[int, int]]]]:
        return of_blocks(cast(Any, self.network), self.image_size)
