"""Counted FLOPs against the closed form of a transformer's products."""

import torch

from kurabe.backbones import PatchTransformer
from kurabe.training.flops import counter


def test_a_training_pass_counts_three_forward_passes() -> None:
    """Per image: blocks · (24 N D² + 4 N² D) for products and attention, 18 N D for the depthwise
    convolution, 12 D² for the modulation; both ends 4 N D P; time embedding and head small.

    Backward: twice that, and attention's scores once more (N² D · 2 a block); no gradient of x_t.
    """
    n, d, p, depth = 64, 192, 48, 6
    network = PatchTransformer(32, 3, width=d, depth=depth, heads=6)
    x, t = torch.randn(4, 3, 32, 32), torch.rand(4)
    blocks = depth * (24 * n * d**2 + 4 * n**2 * d + 18 * n * d + 12 * d**2)
    rest = 4 * n * d * p + 4 * d**2 + 2 * 256 * d + 2 * d**2
    with torch.no_grad(), counter() as forward:
        network(x, t)
    assert forward.get_total_flops() == 4 * (blocks + rest)
    with counter() as both:
        network(x, t).prediction.square().mean().backward()
    again, no_gradient = depth * 2 * n**2 * d, 2 * n * d * p + 2 * 256 * d
    assert both.get_total_flops() == 4 * (3 * (blocks + rest) + again - no_gradient)
