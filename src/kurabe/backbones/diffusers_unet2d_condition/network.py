"""The U-Net of Stable Diffusion as a backbone."""

from torch import Tensor, nn

from kurabe.backbones.diffusers_frame.network import Listening
from kurabe.backbones.diffusers_unet2d.network import UNet


class TextUNet(Listening, UNet):
    """`UNet2DConditionModel`, told what to draw by a text encoder's states.

    One of Stable Diffusion XL is told a pooled vector too, and three sizes (Podell et al. 2024,
    section 2.2): of the image before it was prepared, of the place where it was cut, of what is
    drawn. Here they are always those of a whole image that has the size that is drawn.
    """

    def __init__(self, network: nn.Module, steps: int, offset: int, side: int = 1) -> None:
        super().__init__(network, steps, offset, side)
        config, pooled = self.config, 0
        if config["addition_embed_type"] is not None:
            sizes = 6 * config["addition_time_embed_dim"]
            pooled = config["projection_class_embeddings_input_dim"] - sizes
        self.reads = (config["cross_attention_dim"], pooled)

    def predict(self, x_t: Tensor, timestep: Tensor, condition: Tensor | None) -> Tensor:
        states, pooled = self.said(x_t, condition)
        if not self.reads[1]:
            return self.network(x_t, timestep, states).sample
        height, width = (float(side * self.side) for side in x_t.shape[2:])
        sizes = states.new_tensor([[height, width, 0, 0, height, width]]).expand(len(x_t), -1)
        more = {"text_embeds": pooled, "time_ids": sizes}
        return self.network(x_t, timestep, states, added_cond_kwargs=more).sample
