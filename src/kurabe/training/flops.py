"""Counting FLOPs of matrix products, convolutions and attention, two for each multiply-add.

torch's counter takes the backward pass of a grouped convolution for that of a full one; here it is
counted right.
"""

import math
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

_ATEN = torch.ops.aten


def counter() -> FlopCounterMode:
    """A context that counts what runs inside it; `.get_total_flops()` tells."""
    mapping = {
        _ATEN.convolution_backward: _convolution_backward,
    }
    return FlopCounterMode(display=False, custom_mapping=mapping)


def _convolution_backward(out: Any, x: Any, weight: Any, *_: Any, **__: Any) -> int:
    # Gradients of input and of weight, each as many products as the forward pass.
    return 2 * 2 * math.prod(out) * math.prod(weight[1:])
