"""Counting FLOPs of matrix products, convolutions and attention, two for each multiply-add.

torch's counter knows attention on CUDA alone, and takes the backward pass of a grouped convolution
for that of a full one; both are counted here.
"""

import math
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

_ATEN = torch.ops.aten


def counter() -> FlopCounterMode:
    """A context that counts what runs inside it; `.get_total_flops()` tells."""
    mapping = {
        _ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
        _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
        _ATEN.convolution_backward: _convolution_backward,
    }
    return FlopCounterMode(display=False, custom_mapping=mapping)


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(out: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(out, query, key, value)


def _convolution_backward(out: Any, x: Any, weight: Any, *_: Any, **__: Any) -> int:
    # Gradients of input and of weight, each as many products as the forward pass.
    return 2 * 2 * math.prod(out) * math.prod(weight[1:])
