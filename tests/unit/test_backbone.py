"""The patch transformer: closed forms that its parts must meet."""

import pytest
import torch
from torch import nn

from kurabe.backbones import PatchTransformer
from kurabe.backbones.patch import Block, Refinement, attention
from kurabe.backbones.subset import Subset


def awake(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights everywhere: at initialisation zeros hide most of the network."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.1, generator=generator)
    return module


@pytest.fixture
def network() -> PatchTransformer:
    shape = {"patch": 2, "width": 32, "depth": 4, "heads": 2, "decoder": 1}
    return awake(PatchTransformer(8, 3, **shape))


def images(count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 8, 8, generator=generator), torch.linspace(0.1, 0.9, count)


def test_a_new_network_predicts_zero() -> None:
    x, t = images()
    assert (
        PatchTransformer(8, 3, patch=2, width=32, depth=2, heads=2)(x, t).prediction.abs().max()
        == 0
    )


def test_patches_match_unfold_and_go_back(network: PatchTransformer) -> None:
    x, _ = images()
    expected = nn.functional.unfold(x, 2, stride=2).transpose(1, 2)
    assert torch.equal(network.patchify(x), expected)
    assert torch.equal(network.unpatchify(expected), x)


def test_keeping_every_token_changes_nothing(network: PatchTransformer) -> None:
    x, t = images()
    everything = torch.arange(16).expand(3, 16)
    full, kept = network(x, t), network(x, t, keep=everything)
    torch.testing.assert_close(kept.prediction, full.prediction, rtol=1e-5, atol=1e-5)


def test_dropped_pixels_are_not_seen(network: PatchTransformer) -> None:
    """What stands in dropped patches reaches neither features nor prediction."""
    x, t = images()
    keep = torch.tensor([[0, 3, 5, 9]] * 3)
    patches = network.patchify(x).clone()
    dropped = [i for i in range(16) if i not in (0, 3, 5, 9)]
    patches[:, dropped] = 7.0
    one, other = network(x, t, keep=keep), network(network.unpatchify(patches), t, keep=keep)
    assert torch.equal(one.prediction, other.prediction)


def test_features_of_a_subset_are_those_of_the_kept_tokens(network: PatchTransformer) -> None:
    x, t = images()
    layers = ("block-1", "block-4")
    features = network(x, t, keep=torch.tensor([[1, 2]] * 3), layers=layers).features
    assert {k: v.shape[1] for k, v in features.items()} == {"block-1": 2, "block-4": 16}


def test_features_alone_are_those_of_the_whole_pass(network: PatchTransformer) -> None:
    x, t = images()
    layers = ("block-1", "block-3")
    whole, alone = network(x, t, layers=layers).features, network.features(x, t, layers=layers)
    assert alone.keys() == whole.keys() == set(layers)
    assert all(torch.equal(alone[name], whole[name]) for name in layers)


def test_subset_puts_back_what_it_took() -> None:
    tokens = torch.arange(2 * 6 * 3, dtype=torch.float32).reshape(2, 6, 3)
    subset = Subset(torch.tensor([[4, 0, 2], [5, 1, 3]]), 6)
    full = subset.put(subset.take(tokens), torch.tensor(-1.0))
    expected = torch.full_like(tokens, -1.0)
    for row, kept in enumerate(([4, 0, 2], [5, 1, 3])):
        expected[row, kept] = tokens[row, kept]
    assert torch.equal(full, expected)


def test_both_ways_of_a_subset_pass_gradients_by_finite_differences() -> None:
    subset = Subset(torch.tensor([[4, 0, 2], [5, 1, 3]]), 6)
    generator = torch.Generator().manual_seed(4)
    full = torch.randn(2, 6, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    few = torch.randn(2, 3, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(subset.take, (full,))
    assert torch.autograd.gradcheck(subset.put, (few, full))


def test_two_products_equal_torchs_fused_attention() -> None:
    generator = torch.Generator().manual_seed(5)
    q, k, v = torch.randn(3, 2, 4, 9, 16, dtype=torch.float64, generator=generator)
    expected = nn.functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(attention(q, k, v), expected, rtol=1e-12, atol=1e-12)


def test_a_refinement_reaches_two_pixels_and_no_further() -> None:
    refinement = awake(Refinement(12, 3, 8, 3)).double()
    pixels = torch.zeros(1, 12, 9, 9, dtype=torch.float64)
    x_t = torch.zeros(1, 3, 9, 9, dtype=torch.float64, requires_grad=True)
    refinement(pixels, x_t)[0, :, 4, 4].sum().backward()
    assert x_t.grad is not None
    reached = x_t.grad.abs().sum((0, 1)).nonzero()
    assert reached.min(0).values.tolist() == [2, 2]
    assert reached.max(0).values.tolist() == [6, 6]


def test_attention_is_softmax_of_scaled_products() -> None:
    block = awake(Block(8, 2))
    x = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(2))
    q, k, v = block.qkv(x).chunk(3, dim=-1)
    heads = []
    for h in (slice(0, 4), slice(4, 8)):
        scores = (q[..., h] @ k[..., h].transpose(1, 2) / 4**0.5).softmax(-1)
        heads.append(scores @ v[..., h])
    expected = block.attention_out(torch.cat(heads, dim=-1))
    torch.testing.assert_close(block._attend(x), expected)


def test_convolution_matches_a_plain_conv2d() -> None:
    block = awake(Block(8, 2))
    x = torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(3))
    image = x.transpose(1, 2).reshape(2, 8, 3, 3)
    expected = nn.functional.conv2d(image, block.neighbours.weight, padding=1, groups=8)
    torch.testing.assert_close(
        block._convolve(x, (3, 3), None), expected.flatten(2).transpose(1, 2)
    )


def test_an_unconditional_call_is_the_null_class() -> None:
    x, t = images()
    network = PatchTransformer(8, 3, patch=2, width=32, depth=2, heads=2)
    network.take_classes(5)
    awake(network)
    null = torch.full((3,), 5)
    assert torch.equal(network(x, t).prediction, network(x, t, null).prediction)
    assert not torch.equal(network(x, t).prediction, network(x, t, null - 1).prediction)


def test_a_patch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="not a multiple of the patch 5"):
        PatchTransformer(32, 3, patch=5)
