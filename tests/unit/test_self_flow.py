"""Two noise levels over one image's tokens: the loss in numpy, and groups that do not see each
other."""

import numpy as np
import pytest
import torch

from kurabe.adaptations.full import Full
from kurabe.backbones import PatchTransformer
from kurabe.backbones.diffusers_unet2d.network import UNet
from kurabe.diffusion import SCHEDULES, NetworkDenoiser
from kurabe.errors import UserError
from kurabe.methods.choices import Choices
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.objective import Objective, make_objective
from kurabe.objectives.self_flow import SelfFlow
from kurabe.training.batches import Source
from kurabe.training.ema import EMA
from kurabe.training.references import refer

PIXELS = np.random.default_rng(3).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)


def network(**more: object) -> PatchTransformer:
    torch.manual_seed(0)
    own = PatchTransformer(8, 1, patch=2, width=16, depth=3, heads=2, **more)
    for parameter in own.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return own


def made(choice: SelfFlow) -> Objective:
    choices = Choices(start="random", adaptation=Full(), objective=(Denoising(), choice))
    own = make_objective(choices, NetworkDenoiser(network(), SCHEDULES["cosine"], "v"))
    state = {k: v.detach().clone() * 1.1 for k, v in own.denoiser.backbone.state_dict().items()}
    refer(own, EMA(dict(own.denoiser.backbone.state_dict(keep_vars=True)), 0.07))
    own.references["teacher"].backbone.load_state_dict(state)
    return own


def test_the_loss_is_between_the_student_s_two_levels_and_the_teacher_s_lesser_one() -> None:
    own = made(SelfFlow())
    (stream,) = own.streams(0.0)
    batch = Source(PIXELS, 0, 16, "cpu").batch(stream, 0, 6)
    head = own.terms["self-flow"].head
    with torch.no_grad():
        found = own({"images": batch}, 0.0)["self-flow"].numpy()
        for i in range(6):
            x, eps, t = batch.images[i : i + 1], batch.noise[i : i + 1], batch.t[i : i + 1]
            by_pixel = t.repeat_interleave(2, 1).repeat_interleave(2, 2).unsqueeze(1)
            alpha, sigma = own.denoiser.schedule(by_pixel.double())
            student = (alpha * x + sigma * eps).float()
            z = own.denoiser.backbone(student, t, layers=("block-1",)).features["block-1"]
            least = t.min().reshape(1)
            alpha, sigma = own.denoiser.schedule(least.double())
            whole = (alpha * x + sigma * eps).float()
            teacher = own.references["teacher"].backbone
            y = teacher(whole, least, layers=("block-2",)).features["block-2"]
            h = head(z)[0].double().numpy()
            lead = y[0].double().numpy()
            cosines = (h * lead).sum(1) / np.linalg.norm(h, axis=1) / np.linalg.norm(lead, axis=1)
            assert found[i] == pytest.approx(1 - cosines.mean(), abs=1e-5)


@pytest.mark.parametrize("refine", [0, 8])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_apart_a_group_is_what_it_is_whatever_the_other_shows(refine, checkpointed) -> None:
    own = network(refine=refine)
    if checkpointed:
        own.enable_gradient_checkpointing()
    g = torch.Generator().manual_seed(1)
    clean = torch.rand(2, 4, 4, generator=g) < 0.5
    t = torch.where(clean, 0.2, 0.7)
    x = torch.randn(2, 1, 8, 8, generator=g)
    pixels = clean.repeat_interleave(2, 1).repeat_interleave(2, 2).unsqueeze(1)
    other = torch.where(pixels, x, torch.randn(2, 1, 8, 8, generator=g))

    def seen(image):
        out = own(image, t, layers=own.feature_layers)
        return torch.stack(list(out.features.values())), out.prediction

    tokens = clean.flatten(1)
    with own.levels_apart(True):
        first, second = seen(x), seen(other)
        rows = own.features(x, t, layers=("block-2",))["block-2"]
    assert torch.equal(first[0][:, tokens], second[0][:, tokens])
    assert torch.equal(first[1][pixels], second[1][pixels])
    assert (first[0][-1][~tokens] != second[0][-1][~tokens]).any()
    torch.testing.assert_close(rows, first[0][1])
    # Outside of it they do see each other, from the first block on.
    whole, changed = seen(x), seen(other)
    assert (whole[0][0][tokens] != changed[0][0][tokens]).any()


def test_images_of_one_level_are_what_they_were() -> None:
    own = network()
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([0.2, 0.6])
    with torch.no_grad(), own.levels_apart(True):
        by_token = own(x, t.view(2, 1, 1).expand(2, 4, 4)).prediction
        one = own(x, t).prediction
    torch.testing.assert_close(by_token, own(x, t).prediction)
    torch.testing.assert_close(one, by_token)


def test_one_layer_twice_and_a_network_that_cannot_keep_apart_are_refused() -> None:
    with pytest.raises(UserError, match=r"early = 0\.6 and late = 0\.67 are both block-2"):
        made(SelfFlow(early=0.6))
    from diffusers import UNet2DModel

    model = UNet2DModel(
        8, 1, 1, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip
    denoiser = NetworkDenoiser(UNet(model.eval(), 1000, 1), SCHEDULES["cosine"], "v")
    choices = Choices(
        start="random", adaptation=Full(), objective=(Denoising(), SelfFlow(apart=True))
    )
    with pytest.raises(UserError, match="keeps the noise levels in one image apart, which this"):
        make_objective(choices, denoiser).streams(0.0)
