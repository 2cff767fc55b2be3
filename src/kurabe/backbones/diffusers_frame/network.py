"""What all networks of the diffusers library have in common as backbones.

A diffusers network counts noise in the timesteps k of its scheduler. Timestep k stands for
t = (k + 1)/steps on a chain, where k may lie between two steps, and below the first one is 0; on
a flow for t = k/steps. Features are what blocks give, each on a grid of its own.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from kurabe import registry
from kurabe.backbones.base import Backbone, Output
from kurabe.errors import UserError
from kurabe.sizes import Sides, Size, sides_of, times

BLOCKS = r"(^|\.)(down_blocks|mid_block|up_blocks|transformer_blocks)\."


class DiffusersBackbone(Backbone):
    """A diffusers network. Subclasses say how it is called and where its features are.

    network: the model. steps: of its schedule. offset: 1 on a chain, 0 on a flow. side: pixels of
    the image that one pixel of what it sees stands for, in each direction.
    """

    roles: ClassVar = {
        "all-linear": BLOCKS,
        "attention": BLOCKS + r".*\.to_(q|k|v|out\.0)$",
    }
    branches = BLOCKS + r".*\.(to_out\.0|to_add_out|ff(_context)?\.net\.2|conv2)$"
    norms = r"(^|\.)norm\w*\.linear\.bias$|(^|\.)scale_shift_table$"
    # No token of such a network can be left out.
    patch = 0

    def __init__(self, network: nn.Module, steps: int, offset: int, side: int = 1) -> None:
        super().__init__()
        self.network, self.steps, self.offset, self.side = network, steps, offset, side
        config = self.config
        size = config["sample_size"]
        self.image_size = (size, size) if isinstance(size, int) else (size[0], size[1])
        self.in_channels: int = config["in_channels"]
        self._lay_out()
        self._whole_steps = config.get("time_embedding_type") == "learned"

    def _lay_out(self) -> None:
        """Which features lie on which grid, for images of `image_size`."""
        self.taps, self.shapes = self._taps()
        self.feature_layers = tuple(self.taps)
        finest = max(self.shapes.values(), key=lambda shape: math.prod(shape[1]))
        self.feature_dim, self.token_grid = finest

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

    def stream(self, output: Any) -> Tensor:
        """The feature (B, C, H, W) or (B, N, D) in what a tapped block gives."""
        return output[0] if isinstance(output, tuple) else output

    def enable_gradient_checkpointing(self) -> None:
        try:
            cast(Any, self.network).enable_gradient_checkpointing()
        except ValueError:
            super().enable_gradient_checkpointing()

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
                value = self.stream(output)
                found[name] = value.flatten(2).transpose(1, 2) if value.dim() == 4 else value

            return hook

        hooks = [self.taps[name].register_forward_hook(keep(name)) for name in layers]
        try:
            yield found
        finally:
            for hook in hooks:
                hook.remove()


class Listening(DiffusersBackbone):
    """One that is told a text: states of its tokens and, for some, a pooled vector.

    Both are one condition (B, rows, width): the pooled vector is its last row. Where the network
    is told nothing, it is told `asked`, of one row.
    reads: numbers of a token's state and of the pooled vector, 0 where it is told none.
    """

    asked: Tensor
    reads: tuple[int, int]

    def take_classes(self, count: int) -> None:
        raise ValueError("a network that is told text cannot be told classes as well")

    def ask(self, condition: Tensor) -> None:
        """What to draw where nothing else is said, (1, rows, width)."""
        self.register_buffer("asked", condition, persistent=False)

    def said(self, x_t: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """States (B, tokens, width) and the pooled vector (B, pooled), for as many as x_t."""
        told = self.asked.expand(len(x_t), -1, -1) if condition is None else condition
        width, pooled = self.reads
        states = told[:, :-1] if pooled else told
        return states[..., :width], told[:, -1, :pooled]


def of_blocks(
    network: Any, image_size: Sides
) -> tuple[dict[str, nn.Module], dict[str, tuple[int, tuple[int, int]]]]:
    """Layers "block-1" … of a transformer of one width and one grid of tokens, and their shapes."""
    config = network.config
    rows, columns = (side // config["patch_size"] for side in image_size)
    width = config["num_attention_heads"] * config["attention_head_dim"]
    taps = {f"block-{k}": block for k, block in enumerate(network.transformer_blocks, 1)}
    return taps, dict.fromkeys(taps, (width, (rows, columns)))


_REFUSALS = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    NotImplementedError,
    ZeroDivisionError,
)


def of_settings(
    image_size: Size,
    channels: int,
    architecture: str,
    config: str,
    scheduler: Mapping[str, Any],
    autoencoder: Mapping[str, Any] | None = None,
    prompt: Mapping[str, Any] | None = None,
) -> DiffusersBackbone:
    """The network that a recipe's `DiffusersNetwork` describes, of random weights.

    ValueError where it draws other images than those of that size and colour, UserError where it
    cannot be built, or the autoencoder has other latents.
    """
    flows, side = scheduler["kind"] == "flow", 1 if autoencoder is None else autoencoder["side"]
    made = make(architecture, json.loads(config))
    kind: type[DiffusersBackbone] = registry.load("backbones", architecture)
    backbone = kind(made, scheduler["steps"], 0 if flows else 1, side)
    draws, sides = backbone.in_channels, sides_of(image_size)
    if autoencoder is not None:
        latents = json.loads(autoencoder["config"]).get("latent_channels", 4)
        if latents != backbone.in_channels:
            raise UserError(
                f"The autoencoder gives {latents} channels of latents, the network takes "
                f"{backbone.in_channels}."
            )
        draws = autoencoder["channels"]
    own = (backbone.image_size[0] * side, backbone.image_size[1] * side)
    if draws != channels or (own != sides and sides[0] == sides[1]):
        raise ValueError(
            f"it draws {times(own)} of {draws} channels, they are {times(sides)} of {channels}"
        )
    if own != sides:
        backbone.resize((sides[0] // side, sides[1] // side))
    return backbone


def make(architecture: str, config: Mapping[str, Any]) -> nn.Module:
    """A module of diffusers, of random weights (torch's generator); UserError where its class
    refuses the configuration."""
    import diffusers

    own = {key: value for key, value in config.items() if not key.startswith("_")}
    kind = getattr(diffusers, architecture)
    try:
        with _quiet():
            return kind.from_config(own)
    except _REFUSALS as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"diffusers cannot build this {architecture} from its configuration: {said}."
        ) from None


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
