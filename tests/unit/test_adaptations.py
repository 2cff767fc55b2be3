"""Adaptations: the base until the first update, bit for bit, and the way back."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from kurabe.adaptations import Adaptation, attach
from kurabe.adaptations.bitfit import BitFit
from kurabe.adaptations.dora import DoRA
from kurabe.adaptations.full import Full
from kurabe.adaptations.lora import LowRank
from kurabe.adaptations.untouched import Untouched
from kurabe.backbones import PatchTransformer
from kurabe.errors import UserError


@pytest.fixture
def network() -> PatchTransformer:
    torch.manual_seed(0)
    network = PatchTransformer(8, 3, patch=2, width=32, depth=2, heads=2)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def drawn(network: PatchTransformer) -> Tensor:
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return network(x, torch.linspace(0, 1, 4)).prediction


def change(adaptation: Adaptation) -> None:
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in adaptation.parameters:
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)


def test_lora_at_initialisation_is_the_base_bit_for_bit(network: PatchTransformer) -> None:
    before = drawn(network)
    attach(network, LowRank(rank=4))
    assert torch.equal(drawn(network), before)


def test_lora_trains_what_its_formula_says(network: PatchTransformer) -> None:
    """Per block: (in + out) · rank for modulation, qkv, attention_out, mlp_in, mlp_out."""
    adaptation = attach(network, LowRank(rank=4))
    w = 32
    per_block = 4 * ((w + 6 * w) + (w + 3 * w) + (w + w) + (w + 4 * w) + (4 * w + w))
    assert sum(p.numel() for p in adaptation.parameters) == 2 * per_block


def test_lora_is_w_plus_scaled_product(network: PatchTransformer) -> None:
    weight = network.blocks[0].qkv.weight.detach().clone()
    adaptation = attach(network, LowRank(rank=4, alpha=8))
    change(adaptation)
    layer = network.blocks[0].qkv
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = drawn(network)
    adaptation.merge()
    torch.testing.assert_close(network.blocks[0].qkv.weight, weight + 8 / 4 * b @ a)
    torch.testing.assert_close(drawn(network), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("choice", [LowRank(rank=4), Full(), LowRank(targets="attention")])
def test_off_is_the_base_again_and_only_inside(
    network: PatchTransformer, choice: LowRank | Full
) -> None:
    base = drawn(network)
    adaptation = attach(network, choice)
    change(adaptation)
    adapted = drawn(network)
    with adaptation.off():
        assert torch.equal(drawn(network), base)
    assert torch.equal(drawn(network), adapted) and not torch.equal(adapted, base)


def test_a_stored_state_brings_the_adapted_network_back(network: PatchTransformer) -> None:
    adaptation = attach(network, LowRank(rank=4))
    change(adaptation)
    stored = {name: tensor.detach().clone() for name, tensor in adaptation.state().items()}
    adapted = drawn(network)
    change(adaptation)
    assert not torch.equal(drawn(network), adapted)
    adaptation.load(stored)
    assert torch.equal(drawn(network), adapted)


def test_a_state_of_another_network_is_refused(network: PatchTransformer) -> None:
    adaptation = attach(network, LowRank(rank=4))
    other = PatchTransformer(8, 3, patch=2, width=64, depth=2, heads=2)
    state = dict(attach(other, LowRank(rank=4)).state())
    with pytest.raises(ValueError, match="do not fit"):
        adaptation.load(state)


def test_a_pattern_finds_layers_by_name(network: PatchTransformer) -> None:
    attach(network, LowRank(rank=4, targets=r"^blocks\.1\.mlp_"))
    adapted = {
        name.split(".lora_")[0] for name in dict(network.named_parameters()) if "lora" in name
    }
    assert adapted == {"blocks.1.mlp_in", "blocks.1.mlp_out"}


@pytest.mark.parametrize("pattern", ["attn", r"^block\.", "to_q|to_k"])
def test_a_pattern_that_matches_no_layer_is_an_error(
    network: PatchTransformer, pattern: str
) -> None:
    with pytest.raises(UserError, match="matches no linear layer of this network; it has embed"):
        attach(network, LowRank(targets=pattern))


@pytest.mark.parametrize("pattern", ["(", "", "*"])
def test_what_is_no_pattern_is_refused_before_anything_runs(pattern: str) -> None:
    with pytest.raises(ValidationError, match="targets"):
        LowRank(targets=pattern)


def test_untouched_trains_nothing(network: PatchTransformer) -> None:
    adaptation = attach(network, Untouched())
    assert adaptation.parameters == [] and adaptation.state() == {}


def test_the_merged_product_has_the_gradients_of_peft_s_own_layer(
    network: PatchTransformer,
) -> None:
    """PEFT computes W x + s B (A x) with autograd; outputs and gradients agree to 1e-5."""
    from peft.tuners.lora.layer import Linear as PeftLinear

    adaptation = attach(network, LowRank(rank=4, alpha=8))
    change(adaptation)
    layer = network.blocks[1].mlp_in
    x = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(7), requires_grad=True)
    seen = []
    for forward in (type(layer).forward, PeftLinear.forward):
        out = forward(layer, x)
        wanted = (x, layer.lora_A["default"].weight, layer.lora_B["default"].weight)
        seen.append((out, *torch.autograd.grad(out.square().sum(), wanted)))
    for ours, theirs in zip(*seen, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_gradients_under_autocast_are_those_of_float32_to_bfloat16_s_digits(
    network: PatchTransformer,
) -> None:
    """bfloat16 keeps 8 bits, so a sum of rounded products errs by some 2⁻⁸ of its size."""
    adaptation = attach(network, LowRank(rank=4, alpha=8))
    change(adaptation)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    seen = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = network(x, torch.linspace(0, 1, 4)).prediction.float().square().sum()
        seen.append(torch.autograd.grad(loss, adaptation.parameters))
    for exact, narrow in zip(*seen, strict=True):
        assert narrow.dtype == torch.float32
        assert (narrow - exact).norm() < 0.05 * exact.norm()


def test_dora_is_peft_s_own_dora(network: PatchTransformer) -> None:
    """PEFT computes base, update and magnitude apart; outputs and gradients agree to 1e-5."""
    from peft.tuners.lora.layer import Linear as PeftLinear

    adaptation = attach(network, DoRA(rank=4, alpha=8))
    change(adaptation)
    layer = network.blocks[1].mlp_in
    assert "default" in layer.lora_variant
    x = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(7), requires_grad=True)
    seen = []
    for forward in (type(layer).forward, PeftLinear.forward):
        out = forward(layer, x)
        wanted = (
            x,
            layer.lora_A["default"].weight,
            layer.lora_B["default"].weight,
            layer.lora_magnitude_vector["default"].weight,
        )
        seen.append((out, *torch.autograd.grad(out.square().sum(), wanted)))
    for ours, theirs in zip(*seen, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_dora_s_magnitudes_are_the_lengths_of_rows(network: PatchTransformer) -> None:
    """Whatever A and B become, the merged rows are as long as m says."""
    adaptation = attach(network, DoRA(rank=4, alpha=8))
    change(adaptation)
    layer = network.blocks[0].qkv
    magnitudes = layer.lora_magnitude_vector["default"].weight.detach().abs().clone()
    adaptation.merge()
    lengths = network.blocks[0].qkv.weight.norm(dim=1)
    torch.testing.assert_close(lengths, magnitudes, rtol=1e-5, atol=1e-6)


def test_bitfit_trains_every_bias_and_nothing_else(network: PatchTransformer) -> None:
    """Counted layer by layer: embed, time, per block modulation to mlp_out, heads, refinement."""
    w, values = 32, 12 * 2**2
    per_block = 6 * w + 3 * w + w + 4 * w + w
    expected = w + 2 * w + 2 * per_block + 2 * w + values + 32 + 3
    adaptation = attach(network, BitFit())
    assert sum(p.numel() for p in adaptation.parameters) == expected
    assert all(p.dim() == 1 for p in adaptation.parameters)


def test_bitfit_of_a_network_without_biases_is_an_error() -> None:
    with pytest.raises(UserError, match="this network has none"):
        attach(torch.nn.Linear(3, 3, bias=False), BitFit())
