"""Layer sync: its equation in numpy, where gradients go, and what it refuses."""

import numpy as np
import pytest
import torch

from kurabe.adaptations.full import Full
from kurabe.backbones import PatchTransformer
from kurabe.diffusion import SCHEDULES, NetworkDenoiser
from kurabe.errors import UserError
from kurabe.methods.choices import Choices
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.layer_sync import LayerSync
from kurabe.objectives.objective import Objective, make_objective
from kurabe.training.batches import Source

PIXELS = np.random.default_rng(3).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)


def made(choice: LayerSync) -> Objective:
    torch.manual_seed(0)
    network = PatchTransformer(8, 1, patch=2, width=16, depth=3, heads=2)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    choices = Choices(start="random", adaptation=Full(), objective=(Denoising(), choice))
    return make_objective(choices, NetworkDenoiser(network, SCHEDULES["cosine"], "v"))


def test_the_loss_is_one_minus_the_mean_cosine_of_the_two_layers() -> None:
    own = made(LayerSync())
    (stream,) = own.streams(0.0)
    batch = Source(PIXELS, 0, 16, "cpu").batch(stream, 0, 6)
    with torch.no_grad():
        found = own({"images": batch}, 0.0)["layer-sync"]
        x_t = own.denoiser.noisy(batch.images, batch.noise, batch.t)
        z = own.denoiser.features(x_t, batch.t, None, ("block-1", "block-2"))
    a, b = (z[name].double().numpy() for name in ("block-1", "block-2"))
    cosines = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    np.testing.assert_allclose(found.numpy(), 1 - cosines.mean(1), rtol=1e-5)


def test_the_gradient_is_that_of_a_constant_deeper_layer() -> None:
    """Nothing behind the shallow layer moves, though the deeper layer was computed from it."""
    own = made(LayerSync())
    (stream,) = own.streams(0.0)
    batch = Source(PIXELS, 0, 16, "cpu").batch(stream, 0, 6)
    named = dict(own.named_parameters())
    losses = own({"images": batch}, 0.0)["layer-sync"]
    found = torch.autograd.grad(losses.sum(), list(named.values()), allow_unused=True)
    gradients = {name: g for name, g in zip(named, found, strict=True) if g is not None}
    assert not any(".blocks.1." in name or ".blocks.2." in name for name in gradients)
    with torch.no_grad():
        x_t = own.denoiser.noisy(batch.images, batch.noise, batch.t)
        y = own.denoiser.features(x_t, batch.t, None, ("block-2",))["block-2"]
    z = own.denoiser.features(x_t, batch.t, None, ("block-1",))["block-1"]
    by_hand = 1 - torch.nn.functional.cosine_similarity(z, y, dim=-1).mean(1)
    key = "denoiser.backbone.blocks.0.mlp_out.weight"
    (expected,) = torch.autograd.grad(by_hand.sum(), [named[key]])
    torch.testing.assert_close(gradients[key], expected)
    assert expected.abs().max() > 0


@pytest.mark.parametrize(("shallow", "deep"), [(0.6, 0.67), (0.67, 0.33)])
def test_one_layer_twice_and_the_wrong_way_round_are_refused(shallow: float, deep: float) -> None:
    with pytest.raises(UserError, match=r"towards a deeper one, and shallow = .* move them apart"):
        made(LayerSync(shallow=shallow, deep=deep))


def test_layers_of_two_widths_are_refused() -> None:
    from diffusers import UNet2DModel

    from kurabe.backbones.diffusers_unet2d.network import UNet

    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    model = UNet2DModel(
        8, 1, 1, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, **blocks
    )
    denoiser = NetworkDenoiser(UNet(model.eval(), 1000, 1), SCHEDULES["cosine"], "v")
    layers = denoiser.backbone.feature_layers
    widths = [denoiser.backbone.dim_of(layer) for layer in layers]
    deep = next(i for i, width in enumerate(widths) if width != widths[0])
    choice = LayerSync(shallow=1 / len(layers), deep=(deep + 1) / len(layers))
    choices = Choices(start="random", adaptation=Full(), objective=(Denoising(), choice))
    with pytest.raises(UserError, match="are 8 and 16 wide in this network; choose layers of one"):
        make_objective(choices, denoiser)
