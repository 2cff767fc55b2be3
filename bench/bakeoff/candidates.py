"""Backbones that were tried beside the shipped one; only the bake-off uses them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kurabe.backbones import Backbone, Output, PatchTransformer
from kurabe.backbones.patch import Block, TimeEmbedding, _sine_positions
from kurabe.sizes import Sides


class PlainPatchTransformer(PatchTransformer):
    """DiT's block without the depthwise convolution."""

    def __init__(self, *args: int, **shape: int) -> None:
        super().__init__(*args, **shape)
        for block in self.blocks:
            block.neighbours = _Nothing()


class _Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


class LongSkipTransformer(PatchTransformer):
    """U-ViT's long skips: block i of the first half is added, projected, before its mirror."""

    def __init__(self, *args: int, **shape: int) -> None:
        super().__init__(*args, **shape)
        width, depth = self.feature_dim, len(self.blocks)
        self.skips = nn.ModuleList(nn.Linear(width, width) for _ in range(depth // 2))
        for skip in self.skips:
            nn.init.zeros_(skip.weight)

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        keep: Tensor | None = None,
        layers: Sequence[str] = (),
    ) -> Output:
        c = F.silu(self.time(t))
        tokens = self.embed(self.patchify(x_t)) + self.position
        kept: list[Tensor] = []
        half = len(self.blocks) // 2
        for i, block in enumerate(self.blocks):
            if i >= len(self.blocks) - half:
                tokens = tokens + self.skips[len(self.blocks) - 1 - i](kept.pop())
            tokens = block(tokens, c)
            if i < half:
                kept.append(tokens)
        shift, scale = self.head_modulation(c).unsqueeze(1).chunk(2, dim=-1)
        normed = F.layer_norm(tokens, tokens.shape[-1:])
        return Output(self.unpatchify(self.head(normed * (1 + scale) + shift)), {})


class TwoLevelTransformer(Backbone):
    """Fine tokens (patch / 2, narrow, convolution and MLP only) around coarse ones (blocks)."""

    def __init__(
        self,
        image_size: Sides,
        in_channels: int,
        *,
        patch: int = 4,
        width: int = 192,
        depth: int = 6,
        heads: int = 6,
        decoder: int = 1,
        refine: int = 0,
        fine_width: int = 64,
        fine_depth: int = 2,
    ) -> None:
        super().__init__()
        self.image_size, self.in_channels, self.fine = image_size, in_channels, patch // 2
        side = image_size[0] // self.fine
        self.side, self.feature_dim = side, width
        self.token_grid = (side // 2, side // 2)
        self.feature_layers = tuple(f"block-{i + 1}" for i in range(depth))
        self.embed = nn.Linear(in_channels * self.fine**2, fine_width)
        self.fine_position = nn.Parameter(_sine_positions((side, side), fine_width))
        self.position = nn.Parameter(_sine_positions(self.token_grid, width))
        self.time = TimeEmbedding(width)
        self.down = nn.ModuleList(_Fine(fine_width, width, side) for _ in range(fine_depth))
        self.merge = nn.Linear(4 * fine_width, width)
        self.blocks = nn.ModuleList(Block(width, heads, self.token_grid) for _ in range(depth))
        self.split = nn.Linear(width, 4 * fine_width)
        self.up = nn.ModuleList(_Fine(fine_width, width, side) for _ in range(fine_depth))
        self.head = nn.Linear(fine_width, in_channels * self.fine**2)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for block in self.blocks:
            nn.init.zeros_(block.modulation.weight)
            nn.init.zeros_(block.neighbours.weight)
        nn.init.zeros_(self.head.weight)

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        condition: Tensor | None = None,
        keep: Tensor | None = None,
        layers: Sequence[str] = (),
    ) -> Output:
        b, s, f = len(x_t), self.side, self.fine
        c = F.silu(self.time(t))
        pixels = x_t.reshape(b, -1, s, f, s, f).permute(0, 2, 4, 1, 3, 5).reshape(b, s * s, -1)
        fine = self.embed(pixels) + self.fine_position
        for stage in self.down:
            fine = stage(fine, c)
        d = fine.shape[-1]
        cells = fine.reshape(b, s // 2, 2, s // 2, 2, d).permute(0, 1, 3, 2, 4, 5)
        tokens = self.merge(cells.reshape(b, -1, 4 * d)) + self.position
        for block in self.blocks:
            tokens = block(tokens, c)
        back = self.split(tokens).reshape(b, s // 2, s // 2, 2, 2, d).permute(0, 1, 3, 2, 4, 5)
        fine = fine + back.reshape(b, s * s, d)
        for stage in self.up:
            fine = stage(fine, c)
        out = self.head(F.layer_norm(fine, (d,))).reshape(b, s, s, -1, f, f)
        image = out.permute(0, 3, 1, 4, 2, 5).reshape(b, -1, s * f, s * f)
        return Output(image, {})


class _Fine(nn.Module):
    def __init__(self, width: int, condition: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.neighbours = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.modulation = nn.Linear(condition, 2 * width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(approximate="tanh"), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        b, n, d = x.shape
        grid = x.reshape(b, self.side, self.side, d).permute(0, 3, 1, 2)
        near = self.neighbours(grid).permute(0, 2, 3, 1).reshape(b, n, d)
        shift, scale = self.modulation(c).unsqueeze(1).chunk(2, dim=-1)
        return x + self.mlp(torch.addcmul(shift, F.layer_norm(near, (d,)), 1 + scale))
