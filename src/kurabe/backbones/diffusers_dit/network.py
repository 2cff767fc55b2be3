"""The diffusion transformer of the diffusers library as a backbone."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from kurabe.backbones.base import table
from kurabe.backbones.diffusers_frame.network import DiffusersBackbone, of_blocks


class DiT(DiffusersBackbone):
    """`DiTTransformer2DModel` (Peebles & Xie 2023): layers "block-1" …, the streams behind them.

    Where it predicts a variance beside the noise, the second half of its channels, that half is
    left out: no loss here trains it. condition (B,) are class indices; none is the class behind
    the last, which its training dropped labels to. It drops no label by itself: that would be by
    a generator that no seed of the run reaches.
    """

    def __init__(self, network: nn.Module, steps: int, offset: int, side: int = 1) -> None:
        super().__init__(network, steps, offset, side)
        self.num_classes = self.config["num_embeds_ada_norm"]
        for module in network.modules():
            # By its name, since to import diffusers takes seconds.
            if type(module).__name__ == "LabelEmbedding":
                cast(Any, module).dropout_prob = 0.0

    def take_classes(self, count: int) -> None:
        fresh: set[str] = set()
        for name, module in self.network.named_modules():
            if type(module).__name__ == "LabelEmbedding":
                label = cast(Any, module)
                none = label.embedding_table.weight[self.num_classes].detach().clone()
                label.embedding_table, label.num_classes = table(none, count), count
                fresh.add(f"network.{name}.embedding_table.weight")
        cast(Any, self.network).register_to_config(num_embeds_ada_norm=count)
        self.num_classes, self.fresh = count, frozenset(fresh)

    def predict(self, x_t: Tensor, timestep: Tensor, condition: Tensor | None) -> Tensor:
        if condition is None:
            condition = torch.full_like(timestep, self.num_classes, dtype=torch.long)
        prediction = self.network(x_t, timestep, class_labels=condition).sample
        return prediction[:, : self.in_channels]

    def _taps(self) -> tuple[dict[str, nn.Module], dict[str, tuple[int, tuple[int, int]]]]:
        return of_blocks(cast(Any, self.network), self.image_size)
