"""Alignment with a fixed transform: its equation in numpy, pixel by pixel, what it reaches, and
when a term is on."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from kurabe.adaptations.full import Full
from kurabe.backbones import PatchTransformer
from kurabe.diffusion import SCHEDULES, NetworkDenoiser
from kurabe.errors import UserError
from kurabe.methods.choices import Choices
from kurabe.methods.settings import TermChoice
from kurabe.objectives.contrastive import Contrastive
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.dispersive import Dispersive
from kurabe.objectives.masked import Masked
from kurabe.objectives.objective import Objective, make_objective
from kurabe.objectives.self_alignment import SelfAlignment
from kurabe.objectives.transform_alignment import TransformAlignment
from kurabe.objectives.transform_alignment.term import standardised
from kurabe.objectives.transform_alignment.transforms import gradients, pixels
from kurabe.recipe import Budget, DataSettings, Optimiser, Recipe
from kurabe.training.batches import Source
from kurabe.training.plan import make_plan

PIXELS = np.random.default_rng(3).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)


def made(*terms: TermChoice, patch: int = 4, size: int = 8) -> Objective:
    torch.manual_seed(0)
    network = PatchTransformer(size, 1, patch=patch, width=16, depth=3, heads=2)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    choices = Choices(start="random", adaptation=Full(), objective=(Denoising(), *terms))
    return make_objective(choices, NetworkDenoiser(network, SCHEDULES["cosine"], "v"))


def histograms(image: np.ndarray, cell: int) -> np.ndarray:
    """HOG of one grey image in [0, 1], pixel by pixel: (rows, columns, 9)."""
    height, width = image.shape
    found = np.zeros((height // cell, width // cell, 9))
    for y in range(height):
        for x in range(width):
            across = image[y, min(x + 1, width - 1)] - image[y, max(x - 1, 0)]
            down = image[min(y + 1, height - 1), x] - image[max(y - 1, 0), x]
            place = math.degrees(math.atan2(down, across)) % 180 / 20
            low, part = int(place), place - int(place)
            votes = found[y // cell, x // cell]
            votes[low % 9] += math.hypot(across, down) * (1 - part) / cell**2
            votes[(low + 1) % 9] += math.hypot(across, down) * part / cell**2
    return found / (np.linalg.norm(found, axis=-1, keepdims=True) + 0.01)


def test_gradients_by_place_are_the_histograms_of_its_four_cells() -> None:
    image = PIXELS[0, :, :, 0] / 255
    found = gradients(torch.from_numpy(2 * image - 1)[None, None].float(), (2, 2))[0]
    cells = histograms(image, 2)
    for row in range(2):
        for column in range(2):
            own = cells[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            expected = own.transpose(2, 0, 1).ravel()
            np.testing.assert_allclose(found[2 * row + column].numpy(), expected, atol=1e-5)


def test_an_odd_place_is_one_cell_and_pixels_are_themselves() -> None:
    image = np.random.default_rng(0).random((6, 6))
    shown = torch.from_numpy(2 * image - 1)[None, None].float()
    expected = histograms(image, 3).reshape(4, 9)
    np.testing.assert_allclose(gradients(shown, (2, 2))[0].numpy(), expected, atol=1e-5)
    blocks = shown[0, 0].numpy().reshape(2, 3, 2, 3).transpose(0, 2, 1, 3).reshape(4, 9)
    np.testing.assert_array_equal(pixels(shown, (2, 2))[0].numpy(), blocks)


def test_the_loss_is_one_minus_the_mean_cosine_written_out() -> None:
    own = made(TransformAlignment())
    (stream,) = own.streams(0.0)
    batch = Source(PIXELS, 0, 4, "cpu").batch(stream, 0, 5)
    term = own.terms["transform-alignment"].term
    with torch.no_grad():
        found = own({"images": batch}, 0.0)["transform-alignment"]
        x_t = own.denoiser.noisy(batch.images, batch.noise, batch.t)
        z = own.denoiser.features(x_t, batch.t, None, ("block-1",))["block-1"].double().numpy()
    weight, bias = (p.detach().double().numpy() for p in (term.head.weight, term.head.bias))
    for i in range(5):
        image = (batch.images[i, 0].double().numpy() + 1) / 2
        cells = histograms(image, 2).reshape(2, 2, 2, 2, 9).transpose(0, 2, 4, 1, 3)
        y = cells.reshape(4, 36)
        y = (y - y.mean(0)) / (y.std(0) + 1e-6)
        grid = np.pad(z[i].reshape(2, 2, 16), ((1, 1), (1, 1), (0, 0)))
        cosines = []
        for place in range(4):
            row, column = divmod(place, 2)
            window = grid[row : row + 3, column : column + 3]
            h = np.einsum("ocyx,yxc->o", weight, window) + bias
            cosines.append(y[place] @ h / np.linalg.norm(y[place]) / np.linalg.norm(h))
        assert found[i].item() == pytest.approx(1 - np.mean(cosines), abs=2e-4)


def test_a_channel_that_is_the_same_everywhere_says_nothing() -> None:
    y = torch.randn(3, 9, 4, generator=torch.Generator().manual_seed(0))
    y[:, :, 2] = 0.7
    found = standardised(y)
    assert found[:, :, 2].abs().max() < 0.1
    others = found[:, :, [0, 1, 3]]
    torch.testing.assert_close(others.mean(1), torch.zeros(3, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(others.std(1, correction=0), torch.ones(3, 3), atol=1e-4, rtol=0)


def test_only_the_layers_below_and_the_head_follow() -> None:
    own = made(TransformAlignment())
    (stream,) = own.streams(0.0)
    losses = own({"images": Source(PIXELS, 0, 4, "cpu").batch(stream, 0, 6)}, 0.0)
    named = dict(own.named_parameters())
    found = torch.autograd.grad(
        losses["transform-alignment"].sum(), list(named.values()), allow_unused=True
    )
    moved = {name for name, g in zip(named, found, strict=True) if g is not None}
    assert "denoiser.backbone.blocks.0.qkv.weight" in moved
    assert any(name.endswith("head.weight") and "terms." in name for name in moved)
    assert not any(".blocks.1." in name or ".blocks.2." in name for name in moved)


def test_places_that_hold_no_whole_squares_are_refused() -> None:
    from diffusers import UNet2DModel

    from kurabe.backbones.diffusers_unet2d.network import UNet

    # Three rows and columns of the innermost layer for ten pixels.
    model = UNet2DModel(
        10, 1, 1, block_out_channels=(8, 8, 8), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 3, up_block_types=("UpBlock2D",) * 3,
    )  # fmt: skip
    denoiser = NetworkDenoiser(UNet(model.eval(), 1000, 1), SCHEDULES["cosine"], "v")
    middle = TransformAlignment(depth=0.5)
    choices = Choices(start="random", adaptation=Full(), objective=(Denoising(), middle))
    with pytest.raises(UserError, match=r"cannot follow .*10×10 values are not 3×3 whole squares"):
        make_objective(choices, denoiser)


# --- when a term is on -------------------------------------------------------------------------

EACH = [Contrastive, Dispersive, Masked, SelfAlignment, TransformAlignment]


@pytest.mark.parametrize(
    ("fall", "expected"),
    [
        ("step", [0, 1, 1, 1, 0]),
        ("linear", [0, 1, 0.75, 0.5, 0]),
        ("cosine", [0, 1, (1 + math.sqrt(0.5)) / 2, 0.5, 0]),
    ],
)
def test_the_weight_follows_its_schedule(fall, expected) -> None:
    """At shares .1, .2, .3, .4 and .6 of a run in which the term is on from .2 to .6."""
    term = TransformAlignment(weight=3, since=0.2, until=0.6, fall=fall)
    own = made(term)
    shares = (0.1, 0.2, 0.3, 0.4, 0.6)
    found = [own.weights(share)["transform-alignment"] for share in shares]
    assert found == pytest.approx([3 * part for part in expected])
    assert [len(own.on(share)) for share in shares] == [1, 2, 2, 2, 1]
    assert own.weights(0.9)["denoising"] == 1


@pytest.mark.parametrize("kind", EACH)
def test_any_term_can_end_and_then_training_is_plain(kind) -> None:
    own, plain = made(kind(until=0.5)), made()
    assert own.on(0.49) == ("denoising", kind.model_fields["term"].default)
    assert own.on(0.5) == plain.on(0.5) == ("denoising",)
    assert own.streams(0.5) == plain.streams(0.5)


def test_a_stream_that_ends_leaves_its_share_to_the_others() -> None:
    """Half of 64 images are views until .4; what is not whole there is refused beforehand."""
    term = Contrastive(comparison_batch=16, share=0.5, until=0.4)

    def plan_of(batch: int):
        choices = Choices(start="random", adaptation=Full(), objective=(Denoising(), term))
        recipe = Recipe(
            method="ddpm", choices=choices, data=DataSettings(source="digits"),
            budget=Budget(images=640), optimiser=Optimiser(batch=batch),
        )  # fmt: skip
        own = made(term)
        return make_plan(recipe, own), own

    plan, own = plan_of(64)
    passed = [
        {s.name: plan.images_of(s) * s.views for s in own.streams(share)} for share in (0.0, 0.4)
    ]
    assert passed == [{"images": 32, "views": 32}, {"images": 64}]
    with pytest.raises(UserError, match=r"'views' takes 50% of it"):
        plan_of(48)


def test_what_is_never_on_and_denoising_with_an_end_are_refused() -> None:
    with pytest.raises(
        ValidationError, match=r"is on from 0\.5 to 0\.5 of the run, which is never"
    ):
        Masked(since=0.5, until=0.5)
    with pytest.raises(ValidationError, match="the denoising term is always on"):
        Choices(start="random", adaptation=Full(), objective=(Denoising(until=0.5),))


def test_a_schedule_is_said_and_written_and_none_leaves_recipes_as_they_were() -> None:
    plain, stopped = SelfAlignment(), SelfAlignment(until=0.25, fall="linear")
    assert not {"since", "until", "fall"} & set(plain.model_dump())
    assert plain.said("en") == plain.sentence("en")
    assert stopped.said("en").endswith("(from 0% to 25% of the run, λ falling to 0 in a line)")
    assert stopped.shown().ja.endswith("（学習の 0% から 25% まで、λ は直線的に 0 へ）")
    for choice in (stopped, TransformAlignment(), TransformAlignment(until=1)):
        assert type(choice).model_validate(choice.model_dump(mode="json")) == choice
    # A default of its own is written, or a later default would change what an old recipe means.
    assert TransformAlignment().model_dump()["until"] == 0.33
    assert TransformAlignment(until=1).model_dump()["until"] == 1
