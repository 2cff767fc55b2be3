"""Histograms of oriented gradients: what a patch shows, less its brightness and contrast.

Dalal & Triggs (2005), "Histograms of oriented gradients for human detection": central
differences, the channel with the strongest gradient at each pixel, votes by its magnitude shared
between the two nearest orientations, cells normalised. As a target for masked prediction: Wei et
al. (2022), "Masked feature prediction for self-supervised visual pre-training" (MaskFeat), who
predict nine orientations without sign in two by two cells for each patch.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ORIENTATIONS = 9
# Added to a cell's length, so that differences of a hundredth of the range from black to white
# count as half a contour, and noise in flat cells as little.
FLAT = 0.01


def oriented_gradients(images: Tensor, cell: int, orientations: int = ORIENTATIONS) -> Tensor:
    """Images (B, C, H, W) in [−1, 1] → histograms (B, cells, orientations), row by row.

    cell: side of a cell in pixels, a divisor of H and W. Orientation k stands for gradients at
    angle k π / orientations to the rows, whatever their sign. Each histogram h has been divided
    by ‖h‖₂ + 0.01 (on images in [0, 1]), so that a clear edge gives length 1 and a flat cell 0.
    """
    across, down = _strongest(*_differences(images.float() / 2))
    magnitude = torch.hypot(across, down)
    # Where the angle lies among the orientations, which close into a ring.
    position = torch.atan2(down, across) * (orientations / math.pi)
    ring = torch.arange(orientations, device=images.device).view(-1, 1, 1)
    distance = (position - ring + orientations / 2).remainder(orientations) - orientations / 2
    votes = magnitude * (1 - distance.abs()).clamp(min=0)
    histograms = F.avg_pool2d(votes, cell).flatten(2).transpose(1, 2)
    return histograms / (histograms.norm(dim=-1, keepdim=True) + FLAT)


def _differences(images: Tensor) -> tuple[Tensor, Tensor]:
    """I(x + 1) − I(x − 1) and I(y + 1) − I(y − 1), the border repeated, each (B, C, H, W)."""
    wide = F.pad(images, (1, 1, 0, 0), "replicate")
    high = F.pad(images, (0, 0, 1, 1), "replicate")
    return wide[..., 2:] - wide[..., :-2], high[..., 2:, :] - high[..., :-2, :]


def _strongest(across: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """At each pixel the channel whose gradient is longest, (B, 1, H, W) each."""
    channel = (across.square() + down.square()).argmax(1, keepdim=True)
    return across.gather(1, channel), down.gather(1, channel)
