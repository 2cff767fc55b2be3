"""Counted FLOPs against the closed form of a transformer's products."""

import torch

from kurabe.backbones import PatchTransformer
from kurabe.backbones.patch import REFINED
from kurabe.training.flops import counter


def test_a_training_pass_counts_three_forward_passes() -> None:
    """Per image: blocks · (24 N D² + 4 N² D) for products and attention, 18 N D for the depthwise
    convolution, 12 D² for the modulation; embedding 2 N D P, head 2 N D · 16 V for V values a
    pixel; the refinement's 3×3 convolutions (V + 3) → R → 3; time embedding and head small.

    Backward: twice that; no gradient of x_t or of the times' waves.
    """
    n, d, p, depth, v, r = 64, 192, 48, 6, REFINED, 32
    network = PatchTransformer(32, 3, width=d, depth=depth, heads=6)
    x, t = torch.randn(4, 3, 32, 32), torch.rand(4)
    blocks = depth * (24 * n * d**2 + 4 * n**2 * d + 18 * n * d + 12 * d**2)
    ends = 2 * n * d * p + 2 * n * d * 16 * v + 2 * 9 * 32**2 * ((v + 3) * r + r * 3)
    rest = ends + 4 * d**2 + 2 * 256 * d + 2 * d**2
    with torch.no_grad(), counter() as forward:
        network(x, t)
    assert forward.get_total_flops() == 4 * (blocks + rest)
    with counter() as both:
        network(x, t).prediction.square().mean().backward()
    no_gradient = 2 * n * d * p + 2 * 256 * d
    assert both.get_total_flops() == 4 * (3 * (blocks + rest) - no_gradient)
    # Checkpointing carries every block out a second time.
    network.enable_gradient_checkpointing()
    with counter() as again:
        network(x, t).prediction.square().mean().backward()
    assert again.get_total_flops() == 4 * (3 * (blocks + rest) - no_gradient + blocks)
