"""A second head on an early layer, its term, and samples drawn away from it, in one pass."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_oracles import gaussian
from pydantic import ValidationError
from sklearn.datasets import load_digits
from torch import Tensor

from kurabe.adaptations import attach
from kurabe.adaptations.full import Full
from kurabe.adaptations.lora import LowRank
from kurabe.backbones import PatchTransformer
from kurabe.backbones.diffusers_unet2d.network import UNet
from kurabe.data import ImageSet, split
from kurabe.diffusion import SCHEDULES, NetworkDenoiser
from kurabe.diffusion.guidance import InternalGuidance as Guided
from kurabe.diffusion.guidance import Parts, internal
from kurabe.errors import UserError
from kurabe.guidance.internal import InternalGuidance
from kurabe.methods import choices_of, find
from kurabe.methods.choices import Choices, Sampling
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.early_denoising import EarlyDenoising
from kurabe.objectives.objective import make_objective
from kurabe.recipe import Budget, DataSettings, Network, Optimiser, Recipe
from kurabe.records import RunFolder
from kurabe.training import load_model, train
from kurabe.training.batches import Source
from kurabe.training.model import start_model

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def network(*, head: bool = True) -> PatchTransformer:
    torch.manual_seed(0)
    made = PatchTransformer(8, 1, patch=2, width=32, depth=4, heads=2)
    if head:
        made.take_early_head("block-1")
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return made


def denoiser(*, head: bool = True) -> NetworkDenoiser:
    return NetworkDenoiser(network(head=head), SCHEDULES["cosine"], "v")


class TwoGaussians(torch.nn.Module):
    """A backbone whose two heads are the exact denoisers of two Gaussians."""

    early_layer, preconditioner = "early", None

    def __init__(self, strong: torch.nn.Module, weak: torch.nn.Module) -> None:
        super().__init__()
        self.strong, self.weak, self.calls = strong, weak, 0

    def forward(self, x_t, t, condition=None, keep=None, layers=()):
        from kurabe.backbones.base import Output

        self.calls += 1
        return Output(self.strong(x_t, t), {"early": x_t})

    def early_prediction(
        self,
        tokens: Tensor,
        t: Tensor,
        condition: Tensor | None,
        grid: tuple[int, int] | None = None,
    ) -> Tensor:
        return self.weak(tokens, t)


@pytest.mark.parametrize("weight", [0.0, 1.0, 1.4, 3.0])
def test_of_two_gaussians_the_deep_one_plus_what_it_has_more(weight: float) -> None:
    """x̂ = x̂_deep + (w − 1)(x̂_deep − x̂_early), from one call of the network."""
    schedule = SCHEDULES["cosine"]
    strong = gaussian(schedule, [0.2, 0.1], mean=-0.4)
    weak = gaussian(schedule, [0.9, 0.5], mean=0.1)
    both = TwoGaussians(strong, weak)
    guided = Guided(NetworkDenoiser(both, schedule, "x0"), "early", weight)
    x, t = torch.randn(6, 2, dtype=torch.float64), torch.linspace(0.1, 0.9, 6).double()
    found = guided(x, t)
    expected = strong(x, t) + (weight - 1) * (strong(x, t) - weak(x, t))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert both.calls == guided.passes == InternalGuidance.passes == 1


def test_weight_one_is_the_network_bit_for_bit() -> None:
    own = denoiser()
    guided = internal(InternalGuidance(weight=1.0), Parts(own))
    x, t = torch.randn(5, 1, 8, 8), torch.linspace(0.05, 0.95, 5)
    with torch.no_grad():
        assert torch.equal(guided(x, t), own(x, t))
        assert not torch.equal(internal(InternalGuidance(), Parts(own))(x, t), own(x, t))


def test_a_new_head_predicts_zero_and_changes_nothing_else() -> None:
    own = PatchTransformer(8, 1, patch=2, width=32, depth=4, heads=2)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([0.2, 0.7])
    before = own(x, t, layers=("block-1",))
    own.take_early_head("block-1")
    after = own(x, t, layers=("block-1",))
    assert torch.equal(before.prediction, after.prediction)
    assert own.early_prediction(after.features["block-1"], t, None).abs().max() == 0
    first = own.early
    own.take_early_head("block-2")
    assert (own.early, own.early_layer) == (first, "block-1")


def test_the_term_is_the_denoising_error_of_the_early_head() -> None:
    """The head written out: layer norm, shift and scale by the time, one linear map to patches."""
    own = denoiser()
    choices = Choices(start="random", adaptation=Full(), objective=(Denoising(), EarlyDenoising()))
    made = make_objective(choices, own)
    (stream,) = made.streams(0.0)
    assert stream.layers == ("block-1",)
    batch = Source(PIXELS, 0, 16, "cpu").batch(stream, 0, 6)
    with torch.no_grad():
        found = made({"images": batch}, 0.0)["early-denoising"]
        x_t = own.noisy(batch.images, batch.noise, batch.t)
        tokens = own.features(x_t, batch.t, layers=("block-1",))["block-1"]
        c = torch.nn.functional.silu(own.backbone.time(batch.t))
        shift, scale = own.backbone.early["modulation"](c).chunk(2, -1)
        normal = tokens - tokens.mean(-1, keepdim=True)
        normal = normal / (tokens.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
        patches = own.backbone.early["head"](normal * (1 + scale[:, None]) + shift[:, None])
        v = own.target(batch.images, batch.noise, batch.t)
        expected = (own.backbone.unpatchify(patches) - v).square().flatten(1).mean(1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("choice", [Full(), LowRank(rank=2)], ids=["full", "lora"])
def test_the_head_trains_and_is_stored_with_every_adaptation(choice: Full | LowRank) -> None:
    own = network()
    adaptation = attach(own, choice)
    names = {name for name, _ in own.named_parameters() if name.startswith("early.")}
    assert len(names) == 4 and names <= adaptation.state().keys()
    assert all(own.get_parameter(name).requires_grad for name in names)


def recipe(images: int = 96, **more: object) -> Recipe:
    settings = {
        "method": "internal-guidance",
        "choices": choices_of(find("internal-guidance")),
        "data": DataSettings(source="digits"),
        "budget": Budget(images=images),
        "network": Network(patch=2, width=16, depth=4, heads=2, decoder=1),
        "optimiser": Optimiser(batch=32, held_out_share=1.0, lr=1e-2),
    }
    return Recipe.model_validate({**settings, **more})


def digits() -> ImageSet:
    pixels = np.rint(load_digits().images[:120] * (255 / 16)).astype(np.uint8)[..., None]
    places = np.arange(120)
    return ImageSet("digits", pixels, tuple(map(str, places)), places)


def trained(folder: Path, settings: Recipe) -> Path:
    run = RunFolder(folder).create(settings.to_toml(), {"id": folder.name})
    train(settings, digits(), split(digits(), 0), run)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "internal", recipe())


def test_a_run_keeps_its_head_and_is_drawn_with_any_weight(run: Path) -> None:
    model = load_model(run)
    assert model.denoiser.backbone.early["head"].weight.abs().max() > 0
    drawn, other = model.sample(range(4), 6), model.guided(3.0).sample(range(4), 6)
    assert not np.array_equal(drawn, other)
    model.guidance = None
    np.testing.assert_array_equal(
        load_model(run).guided(1.0).sample(range(4), 6), model.sample(range(4), 6)
    )


def test_the_command_draws_with_a_weight(run: Path, tmp_path: Path) -> None:
    from kurabe.cli import answer

    for name, extra in {
        "plain": (),
        "one": ("--guidance", "1"),
        "more": ("--guidance", "4"),
    }.items():
        words = ["sample", str(run), "-n", "2", "--out", str(tmp_path / name), *extra]
        assert answer(words) == 0
    read = {
        name: [path.read_bytes() for path in sorted((tmp_path / name).glob("*.png"))]
        for name in ("plain", "one", "more")
    }
    assert len(read["plain"]) == 2 and read["plain"] != read["more"] != read["one"]


def test_a_base_with_a_head_is_guided_by_it_and_one_without_is_told_in_a_sentence(
    run: Path, tmp_path: Path
) -> None:
    tuned = choices_of(find("full-fine-tuning")).model_copy(
        update={"sampling": Sampling(guidance=InternalGuidance())}
    )
    assert start_model(recipe(choices=tuned, base=str(run)), 8, 1).sample([0], 4).shape == (
        1,
        8,
        8,
        1,
    )
    plain = recipe(choices=choices_of(find("ddpm")))
    base = trained(tmp_path / "plain", plain)
    with pytest.raises(UserError) as told:
        start_model(recipe(choices=tuned, base=str(base)), 8, 1)
    assert str(told.value) == (
        "Internal guidance is away from a head on an early layer, and this network has none; the "
        "term early-denoising trains one (kurabe fit internal-guidance)."
    )


def test_from_random_weights_the_term_is_needed() -> None:
    with pytest.raises(ValidationError, match="internal guidance needs the term early-denoising"):
        Choices(
            start="random",
            adaptation=Full(),
            objective=(Denoising(),),
            sampling=Sampling(guidance=InternalGuidance()),
        )


def test_a_network_that_cannot_have_such_a_head_says_so() -> None:
    from diffusers import UNet2DModel

    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    unet = UNet2DModel(8, 1, 1, block_out_channels=(8,), norm_num_groups=4, **blocks)
    own = NetworkDenoiser(UNet(unet, 1000, 1), SCHEDULES["cosine"], "v")
    choices = Choices(start="random", adaptation=Full(), objective=(Denoising(), EarlyDenoising()))
    with pytest.raises(UserError, match="early layer too, and a UNet cannot have a head on an ea"):
        make_objective(choices, own)
