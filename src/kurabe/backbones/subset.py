"""Tokens that some blocks see of an image, and the way back to all of them. No mathematics."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class Subset:
    """The tokens kept of each image, and the way back to the full grid.

    Both ways copy whole rows, and each is the other's backward pass: no element is added to
    twice, so that the result does not depend on the order of threads.
    """

    def __init__(self, keep: Tensor, total: int) -> None:
        b, kept = keep.shape
        image = torch.arange(b, device=keep.device).unsqueeze(1)
        self.keep = (keep + image * total).flatten()
        # Row of each grid cell's token among all that were kept; the last row is "dropped".
        self.back = torch.full((b * total,), b * kept, device=keep.device)
        self.back[self.keep] = torch.arange(b * kept, device=keep.device)
        self.dropped = (self.back == b * kept).view(b, total, 1)

    def take(self, tokens: Tensor) -> Tensor:
        """(B, N, D) → (B, K, D)."""
        return _Take.apply(tokens, self.keep, self.back)

    def put(self, kept: Tensor, dropped: Tensor | None = None) -> Tensor:
        """(B, K, D) → (B, N, D), zeros or `dropped` (broadcast) where no token was kept."""
        full = _Put.apply(kept, self.keep, self.back)
        return full if dropped is None else torch.where(self.dropped, dropped, full)


def _gathered(tokens: Tensor, rows: Tensor) -> Tensor:
    b, _, d = tokens.shape
    return tokens.reshape(-1, d).index_select(0, rows).view(b, -1, d)


def _spread(tokens: Tensor, rows: Tensor) -> Tensor:
    b, _, d = tokens.shape
    return F.pad(tokens.reshape(-1, d), (0, 0, 0, 1)).index_select(0, rows).view(b, -1, d)


class _Take(torch.autograd.Function):
    """Rows `keep` of (B, N, D); `back` leads each gradient home."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, keep: Tensor, back: Tensor) -> Tensor:
        ctx.back = back
        return _gathered(tokens, keep)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _spread(gradient, ctx.back), None, None


class _Put(torch.autograd.Function):
    """The inverse of `_Take`, with zeros for what was dropped."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, keep: Tensor, back: Tensor) -> Tensor:
        ctx.keep = keep
        return _spread(tokens, back)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _gathered(gradient, ctx.keep), None, None
