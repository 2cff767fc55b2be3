"""Who sees whom: attention between tokens, and two groups that do not see each other."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def sum_apart(of: Callable[[Tensor], Tensor], clean: Tensor) -> Tensor:
    """`of` the elements that bool `clean` names as if there were no others, and of the others."""
    return torch.where(clean, of(clean), of(~clean))


def attention(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d) v over (B, heads, N, d), as Vaswani et al. (2017), eq. 1.

    seen: bool that broadcasts to (B, heads, N, N), the keys that a query sees; all where None.

    On a CPU as two products: torch's fused kernel takes five times as long in bfloat16 there,
    and in float32 gains nothing at a few dozen tokens (bench/steps.py).
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if seen is not None:
        scores = scores.masked_fill(~seen, -torch.inf)
    return scores.softmax(-1).to(v.dtype) @ v
