"""Networks of the diffusers library as backbones.

A diffusers network counts noise in the timesteps k of its scheduler. Timestep k stands for
t = (k + 1)/steps on a chain, where k may lie between two steps, and below the first one is 0; on
a flow for t = k/steps. Features are what blocks give, each on a grid of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from kurabe.backbones.base import Backbone, Output, table

_BLOCKS = r"(^|\.)(down_blocks|mid_block|up_blocks|transformer_blocks)\."


class DiffusersBackbone(Backbone):
    """A diffusers network. Subclasses say how it is called and where its features are.

    network: the model. steps: of its schedule. offset: 1 on a chain, 0 on a flow. side: pixels of
    the image that one pixel of what it sees stands for, in each direction.
    """

    roles: ClassVar = {
        "all-linear": _BLOCKS,
        "attention": _BLOCKS + r".*\.to_(q|k|v|out\.0)$",
    }
    # No token of a foreign network can be left out.
    patch = 0

    def __init__(self, network: nn.Module, steps: int, offset: int, side: int = 1) -> None:
        super().__init__()
        self.network, self.steps, self.offset, self.side = network, steps, offset, side
        config = self.config
        size = config["sample_size"]
        self.image_size: int = size if isinstance(size, int) else size[0]
        self.in_channels: int = config["in_channels"]
        self.taps, self.shapes = self._taps()
        self.feature_layers = tuple(self.taps)
        finest = max(self.shapes.values(), key=lambda shape: shape[1][0])
        self.feature_dim, self.token_grid = finest
        self._whole_steps = config.get("time_embedding_type") == "learned"

    @property
    def config(self) -> Mapping[str, Any]:
        """What diffusers built the network from."""
        return cast(Any, self.network).config

    def _taps(self) -> tuple[dict[str, nn.Module], dict[str, tuple[int, tuple[int, int]]]]:
        """Layer → the module whose output is the feature, and its width and grid."""
        raise NotImplementedError

    def predict(self, x_t: Tensor, timestep: Tensor, condition: Tensor | None) -> Tensor:
        """The network's prediction (B, C, H, W) at timesteps (B,)."""
        raise NotImplementedError

    def dim_of(self, layer: str) -> int:
        return self.shapes[layer][0]

    def grid_of(self, layer: str) -> tuple[int, int]:
        return self.shapes[layer][1]

    def timestep(self, t: Tensor) -> Tensor:
        """t (B,) in [0, 1] → the scheduler's timestep, (B,)."""
        k = (t.float() * self.steps - self.offset).clamp(min=0)
        return k.round().long() if self._whole_steps else k

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        keep: Tensor | None = None,
        layers: Sequence[str] = (),
    ) -> Output:
        if keep is not None:
            raise ValueError("a network of diffusers sees all tokens")
        with self._tapped(layers) as features:
            prediction = self.predict(x_t, self.timestep(t), condition)
        return Output(prediction, features)

    @contextmanager
    def _tapped(self, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
        """Inside, what the named layers give is kept as tokens (B, N, D)."""
        found: dict[str, Tensor] = {}

        def keep(name: str) -> Any:
            def hook(module: nn.Module, given: Any, output: Any) -> None:
                value = output[0] if isinstance(output, tuple) else output
                found[name] = value.flatten(2).transpose(1, 2) if value.dim() == 4 else value

            return hook

        hooks = [self.taps[name].register_forward_hook(keep(name)) for name in layers]
        try:
            yield found
        finally:
            for hook in hooks:
                hook.remove()


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

    def predict(self, x_t: Tensor, timestep: Tensor, condition: Tensor | None) -> Tensor:
        if self.num_classes and condition is None:
            condition = torch.full_like(timestep, self.num_classes, dtype=torch.long)
        return self.network(x_t, timestep, class_labels=condition).sample

    def _taps(self) -> tuple[dict[str, nn.Module], dict[str, tuple[int, tuple[int, int]]]]:
        unet = cast(Any, self.network)
        taps: dict[str, nn.Module] = {}
        shapes: dict[str, tuple[int, tuple[int, int]]] = {}
        side, dim = self.image_size, 0

        def tap(name: str, block: nn.Module) -> None:
            taps[name], shapes[name] = block, (dim, (side, side))

        for number, block in enumerate(unet.down_blocks, 1):
            dim = _width(block)
            side = (side + 1) // 2 if getattr(block, "downsamplers", None) is not None else side
            tap(f"down-{number}", block)
        if unet.mid_block is not None:
            tap("middle", unet.mid_block)
        for number, block in enumerate(unet.up_blocks, 1):
            dim = _width(block)
            side = side * 2 if getattr(block, "upsamplers", None) is not None else side
            tap(f"up-{number}", block)
        return taps, shapes


class TextUNet(UNet):
    """`UNet2DConditionModel`, told what to draw by a text encoder's states (B, tokens, width).

    Where it is told nothing, it is told `asked`, of one row. One of Stable Diffusion XL is told a
    pooled vector too, the last row of the condition, and three sizes (Podell et al. 2024, section
    2.2): of the image before it was prepared, of the place where it was cut, of what is drawn.
    Here they are always those of a whole image that has the size that is drawn.

    reads: numbers of a token's state and of the pooled vector, 0 where it is told none.
    """

    asked: Tensor

    def __init__(self, network: nn.Module, steps: int, offset: int, side: int = 1) -> None:
        super().__init__(network, steps, offset, side)
        config, pooled = self.config, 0
        if config["addition_embed_type"] is not None:
            sizes = 6 * config["addition_time_embed_dim"]
            pooled = config["projection_class_embeddings_input_dim"] - sizes
        self.reads = (config["cross_attention_dim"], pooled)

    def take_classes(self, count: int) -> None:
        raise ValueError("a network that is told text cannot be told classes as well")

    def ask(self, condition: Tensor) -> None:
        """What to draw where nothing else is said, (1, tokens, width)."""
        self.register_buffer("asked", condition, persistent=False)

    def predict(self, x_t: Tensor, timestep: Tensor, condition: Tensor | None) -> Tensor:
        said = self.asked.expand(len(x_t), -1, -1) if condition is None else condition
        width, pooled = self.reads
        if not pooled:
            return self.network(x_t, timestep, encoder_hidden_states=said).sample
        side = float(self.image_size * self.side)
        sizes = said.new_tensor([[side, side, 0, 0, side, side]]).expand(len(x_t), -1)
        more = {"text_embeds": said[:, -1, :pooled], "time_ids": sizes}
        states = said[:, :-1, :width]
        return self.network(x_t, timestep, states, added_cond_kwargs=more).sample


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
        side = self.image_size // self.config["patch_size"]
        width = self.config["num_attention_heads"] * self.config["attention_head_dim"]
        blocks = cast(Any, self.network).transformer_blocks
        taps = {f"block-{number}": block for number, block in enumerate(blocks, 1)}
        return taps, dict.fromkeys(taps, (width, (side, side)))


def _width(block: Any) -> int:
    return block.resnets[-1].out_channels


def make(architecture: str, config: Mapping[str, Any]) -> nn.Module:
    """A diffusers network of random weights (torch's generator); ValueError for a configuration
    that its class refuses."""
    import diffusers

    own = {key: value for key, value in config.items() if not key.startswith("_")}
    kind = getattr(diffusers, architecture)
    with _quiet():
        return kind.from_config(own)


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, diffusers says nothing below an error on stderr."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
