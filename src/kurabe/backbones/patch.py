"""The backbone of our own: a transformer on image patches with a convolution for neighbours.

Blocks are DiT's (Peebles & Xie 2023, "Scalable diffusion models with transformers"): attention
and MLP behind a layer norm without affine part, shifted, scaled and gated by the time (and
class) embedding, the gates starting at zero (adaLN-zero). Before each block a 3×3 depthwise
convolution on the token grid tells neighbours apart from strangers; without it a small network
draws the edges of its patches (`bench/bakeoff` holds the figures).

With `precondition` a denoiser in closed form, fitted to the training images, stands in front of
it: its x̂₀ is seen beside x_t, and its prediction is added to the network's, which starts at zero.

Patches meet at straight edges, so behind the head stands a residual of two convolutions on pixels,
which knows no patch borders (`Refinement`).

The last `decoder` blocks see all tokens. The blocks before them can run on a subset: what was
dropped enters the decoder as one learned token, so masking needs no second network (MaskDiT,
Zheng et al. 2024, has a separate decoder; MAE, He et al. 2022, the same idea for encoders).
"""

import math
from collections.abc import Sequence
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kurabe.backbones.base import Backbone, Output, table
from kurabe.backbones.subset import Subset
from kurabe.diffusion.patch_mixture import CLOSED_FORMS
from kurabe.sizes import Sides, Size, sides_of, times

# Values a pixel that the refinement gets from the tokens, the prediction itself among them.
REFINED = 12


class PatchTransformer(Backbone):
    """A transformer on a token for each patch of an image; see the module's text.

    image_size: pixels a side, or (height, width).

    depth counts all blocks, `decoder` of them see all tokens; `refine` is the hidden width of the
    convolutions on pixels, 0 for none. Feature layers are "block-1" …
    "block-depth", each the residual stream behind that block. `prediction` of a new network is
    zero, as the last layer starts at zero.
    """

    roles: ClassVar = {
        "all-linear": r"^blocks\.\d+\.",
        "attention": r"^blocks\.\d+\.(qkv|attention_)",
    }

    def __init__(
        self,
        image_size: Size,
        in_channels: int,
        *,
        patch: int = 4,
        width: int = 192,
        depth: int = 6,
        heads: int = 6,
        decoder: int = 1,
        refine: int = 32,
        precondition: str = "none",
    ) -> None:
        super().__init__()
        sides = sides_of(image_size)
        if sides[0] % patch or sides[1] % patch:
            raise ValueError(f"image size {times(sides)} is not a multiple of the patch {patch}")
        if width % heads or not 0 <= decoder <= depth:
            raise ValueError("width must be a multiple of heads, decoder at most depth")
        self.image_size, self.in_channels = sides, in_channels
        self.patch = patch
        self.token_grid = (sides[0] // patch, sides[1] // patch)
        self.feature_layers = tuple(f"block-{i + 1}" for i in range(depth))
        self.feature_dim = width
        self.encoder_depth = depth - decoder
        make = CLOSED_FORMS.get(precondition)
        closed = None if make is None else make(in_channels, sides)
        # The closed form holds for images of one noise level.
        self.preconditioner, self.times_by_token = closed, closed is None
        seen = in_channels if closed is None else 2 * in_channels
        self.embed = nn.Linear(seen * patch**2, width)
        # Rows and columns that there are positions for: an image has the first of them.
        self.places = self.token_grid
        self.position = nn.Parameter(_sine_positions(self.places, width))
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.time = TimeEmbedding(width)
        self.classes: nn.Embedding | None = None
        self.early: nn.ModuleDict | None = None
        self.checkpointed = False
        blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        # A ModuleList is a sequence; torch's annotations do not say of what.
        self.blocks = cast(Sequence[Block], blocks)
        self.head_modulation = nn.Linear(width, 2 * width)
        values = REFINED if refine else in_channels
        self.head = nn.Linear(width, values * patch**2)
        self.refinement = Refinement(values, in_channels, refine, seen) if refine else None
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.mask_token, std=0.02)
        for block in self.blocks:
            nn.init.zeros_(block.modulation.weight)
            nn.init.zeros_(block.neighbours.weight)
        nn.init.zeros_(self.head_modulation.weight)
        # Of a refined head only the prediction starts at zero, or nothing behind it would learn.
        nn.init.zeros_(self.head.weight[: self.in_channels * self.patch**2])

    def take_sizes(self, sizes: Sequence[Sides], trained: bool) -> None:
        if self.preconditioner is not None:
            raise ValueError("what it adds to is in closed form for one size")
        odd = next((size for size in sizes if any(side % self.patch for side in size)), None)
        if odd is not None:
            raise ValueError(f"{times(odd)} is not a multiple of the patch {self.patch}")
        grids = [self.places, *((h // self.patch, w // self.patch) for h, w in sizes)]
        places = (max(rows for rows, _ in grids), max(columns for _, columns in grids))
        if places == self.places:
            return
        if trained:
            raise ValueError(f"it knows the places of {times(self.image_size)} alone")
        self.places = places
        device = self.position.device
        self.position = nn.Parameter(_sine_positions(places, self.feature_dim).to(device))

    def take_classes(self, count: int) -> None:
        none = torch.zeros(self.feature_dim)
        if self.classes is not None:
            none = self.classes.weight[self.num_classes].detach().clone()
        self.classes = table(none, count)
        self.num_classes, self.fresh = count, self.fresh | {"classes.weight"}

    def take_early_head(self, layer: str) -> None:
        if self.early is None:
            width, values = self.feature_dim, self.in_channels * self.patch**2
            made = {"modulation": nn.Linear(width, 2 * width), "head": nn.Linear(width, values)}
            self.early = nn.ModuleDict(made).to(self.position.device)
            for parameter in self.early.parameters():
                nn.init.zeros_(parameter)
            names = {f"early.{name}" for name, _ in self.early.named_parameters()}
            self.early_layer, self.fresh = layer, self.fresh | names

    def early_prediction(
        self,
        tokens: Tensor,
        t: Tensor,
        condition: Tensor | None,
        grid: tuple[int, int] | None = None,
    ) -> Tensor:
        assert self.early is not None
        shift, scale = self.early["modulation"](self._embedding(t, condition)).chunk(2, dim=-1)
        return self.unpatchify(self.early["head"](_modulate(tokens, shift, scale)), grid)

    def enable_gradient_checkpointing(self) -> None:
        self.checkpointed = True

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        keep: Tensor | None = None,
        layers: Sequence[str] = (),
    ) -> Output:
        c = self._embedding(t, condition)
        patches = self.patchify(x_t)
        grid, position = self._places(x_t)
        tokens = self.embed(patches) + position
        subset = None if keep is None else Subset(keep, tokens.shape[1])
        if subset is not None:
            tokens = subset.take(tokens)
            # What was dropped must not come back through the refinement.
            seen = subset.put(subset.take(patches))
            x_t = self.unpatchify(seen, grid)
        all_c, c = c, c if subset is None or c.shape[1] == 1 else subset.take(c)
        features: dict[str, Tensor] = {}
        for i, (name, block) in enumerate(zip(self.feature_layers, self.blocks, strict=True)):
            if i == self.encoder_depth and subset is not None:
                dropped = (self.mask_token + position).expand(len(tokens), -1, -1)
                tokens, subset, c = subset.put(tokens, dropped), None, all_c
            tokens = self._passed(block, tokens, c, grid, subset)
            if name in layers:
                features[name] = tokens
        if subset is not None:
            raise ValueError("a network without decoder blocks cannot fill dropped tokens")
        shift, scale = self.head_modulation(c).chunk(2, dim=-1)
        pixels = self.unpatchify(self.head(_modulate(tokens, shift, scale)), grid)
        if self.refinement is not None:
            pixels = self.refinement(pixels, x_t)
        return Output(pixels, features)

    def features(
        self, x_t: Tensor, t: Tensor, condition: Tensor | None = None, layers: Sequence[str] = ()
    ) -> dict[str, Tensor]:
        c = self._embedding(t, condition)
        grid, position = self._places(x_t)
        tokens = self.embed(self.patchify(x_t)) + position
        found: dict[str, Tensor] = {}
        for name, block in zip(self.feature_layers, self.blocks, strict=True):
            if len(found) == len(set(layers)):
                break
            tokens = self._passed(block, tokens, c, grid)
            if name in layers:
                found[name] = tokens
        return found

    def _places(self, x_t: Tensor) -> tuple[tuple[int, int], Tensor]:
        """Rows and columns of an image's tokens, and their positions (N, D)."""
        rows, columns = (side // self.patch for side in x_t.shape[2:])
        if (rows, columns) == self.places:
            return self.places, self.position
        first = self.position.unflatten(0, self.places)[:rows, :columns]
        return (rows, columns), first.flatten(0, 1)

    def _passed(
        self,
        block: "Block",
        tokens: Tensor,
        c: Tensor,
        grid: tuple[int, int],
        subset: Subset | None = None,
    ) -> Tensor:
        if self.checkpointed and torch.is_grad_enabled():
            # What is random inside, a dropout that an adaptation brought, is drawn as before.
            return cast(Tensor, checkpoint(block, tokens, c, grid, subset, use_reentrant=False))
        return block(tokens, c, grid, subset)

    def _embedding(self, t: Tensor, condition: Tensor | None) -> Tensor:
        """What modulates every block: time and class (the null class where none is given).

        (B, 1, D), or (B, N, D) where each token has a time.
        """
        c = self.time(t.reshape(len(t), -1))
        if self.classes is not None:
            null = torch.full((len(t),), self.num_classes, device=t.device)
            c = c + self.classes(null if condition is None else condition).unsqueeze(1)
        return F.silu(c)


class Block(nn.Module):
    """Depthwise convolution on the grid, attention, MLP; the last two gated, from zero."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = nn.Linear(width, 6 * width)
        self.neighbours = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)

    def forward(
        self, x: Tensor, c: Tensor, grid: tuple[int, int], subset: Subset | None = None
    ) -> Tensor:
        """Tokens x (B, N, D) on rows and columns, embedding c (B, 1 or N, D) → (B, N, D)."""
        parts = self.modulation(c).chunk(6, dim=-1)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = parts
        x = x + self._convolve(x, grid, subset)
        x = torch.addcmul(x, gate_a, self._attend(_modulate(x, shift_a, scale_a)))
        hidden = F.gelu(self.mlp_in(_modulate(x, shift_m, scale_m)))
        return torch.addcmul(x, gate_m, self.mlp_out(hidden))

    def _attend(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.attention_out(attention(q, k, v).transpose(1, 2).reshape(b, n, d))

    def _convolve(self, x: Tensor, grid: tuple[int, int], subset: Subset | None) -> Tensor:
        # A dropped token counts as zero, as padding does at the image's border.
        full = x if subset is None else subset.put(x)
        b, _, d = full.shape
        image = full.reshape(b, *grid, d).permute(0, 3, 1, 2)
        out = self.neighbours(image).permute(0, 2, 3, 1).reshape(b, -1, d)
        return out if subset is None else subset.take(out)


class Refinement(nn.Module):
    """Pixels (B, values, H, W) and what the network saw (B, seen, H, W) → the first channels, plus
    a residual that starts at zero.

    Its reach of two pixels is what a patch cannot know of its neighbours' output.
    """

    def __init__(self, values: int, channels: int, hidden: int, seen: int) -> None:
        super().__init__()
        self.channels = channels
        self.near = nn.Conv2d(values + seen, hidden, 3, padding=1)
        self.out = nn.Conv2d(hidden, channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(cast(Tensor, self.out.bias))

    def forward(self, pixels: Tensor, x_t: Tensor) -> Tensor:
        near = F.gelu(self.near(torch.cat([pixels, x_t], 1)))
        return pixels[:, : self.channels] + self.out(near)


class TimeEmbedding(nn.Module):
    """t (...) in [0, 1] → (..., width): sines at geometric frequencies (t · 1000: DDPM), MLP."""

    frequencies: Tensor

    def __init__(self, width: int, frequencies: int = 128) -> None:
        super().__init__()
        steps = torch.arange(frequencies, dtype=torch.float32) / frequencies
        self.register_buffer("frequencies", torch.exp(-math.log(1e4) * steps), persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(2 * frequencies, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, t: Tensor) -> Tensor:
        angles = 1000 * t.float().unsqueeze(-1) * self.frequencies
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
        return self.layers(waves.to(next(self.layers.parameters()).dtype))


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ / √d) v over (B, heads, N, d), as Vaswani et al. (2017), eq. 1.

    On a CPU as two products: torch's fused kernel takes five times as long in bfloat16 there,
    and in float32 gains nothing at a few dozen tokens (bench/steps.py).
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return scores.softmax(-1).to(v.dtype) @ v


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), 1 + scale)


def _sine_positions(grid: tuple[int, int], width: int) -> Tensor:
    """Two-dimensional sine-cosine positions (He et al. 2022), (rows · columns, width)."""
    quarter = width // 4
    omega = torch.exp(-math.log(1e4) * torch.arange(quarter) / quarter)
    rows, columns = (torch.arange(n, dtype=torch.float32).outer(omega) for n in grid)
    y = rows.unsqueeze(1).expand(-1, grid[1], -1)
    x = columns.unsqueeze(0).expand(grid[0], -1, -1)
    waves = torch.cat([y.sin(), y.cos(), x.sin(), x.cos()], dim=-1).flatten(0, 1)
    return F.pad(waves, (0, width - 4 * quarter))
