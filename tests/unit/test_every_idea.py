"""What every adaptation and term that the registry finds must hold, each with its defaults."""

import inspect
import re
import string
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kurabe import registry
from kurabe.adaptations import Adaptation, attach
from kurabe.adaptations.full import Full
from kurabe.backbones import PatchTransformer
from kurabe.backbones.diffusers_unet2d.network import UNet
from kurabe.diffusion import SCHEDULES, NetworkDenoiser
from kurabe.errors import UserError
from kurabe.methods.choices import Choices
from kurabe.methods.settings import AdaptationChoice, TermChoice
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.objective import Objective, make_objective
from kurabe.registry import Idea
from kurabe.training.batches import Source
from kurabe.training.ema import EMA
from kurabe.training.references import refer
from kurabe.web.tex import mathml

ADAPTATIONS = list(registry.ideas("adaptations").values())
TERMS = list(registry.ideas("terms").values())
BATCH = 128


def ids(idea: Idea) -> str:
    return idea.name


EACH_ADAPTATION = pytest.mark.parametrize("idea", ADAPTATIONS, ids=ids)
EACH_TERM = pytest.mark.parametrize("idea", TERMS, ids=ids)


def made(idea: Idea) -> Any:
    assert idea.settings is not None
    return idea.settings()


def network(seed: int = 0) -> PatchTransformer:
    torch.manual_seed(seed)
    network = PatchTransformer(8, 1, patch=2, width=32, depth=4, heads=2)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def drawn(network: PatchTransformer) -> Tensor:
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    return network(x, torch.linspace(0, 1, 4)).prediction


def trained(adaptation: Adaptation, network: PatchTransformer) -> None:
    """A few steps of gradient descent, so that also what starts at zero has moved."""
    for _ in range(3):
        # Without dropped tokens the mask token rests.
        moving = [p for p in adaptation.parameters if p is not network.mask_token]
        gradients = torch.autograd.grad(drawn(network).square().mean(), moving)
        with torch.no_grad():
            for parameter, gradient in zip(moving, gradients, strict=True):
                parameter.sub_(gradient, alpha=0.02 / (gradient.norm() + 1e-12))


def copied(adaptation: Adaptation) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in adaptation.state().items()}


@EACH_ADAPTATION
def test_an_adaptation_starts_as_the_base_bit_for_bit(idea: Idea):
    own = network()
    before, choice = drawn(own), made(idea)
    attach(own, choice)
    if choice.exact:
        assert torch.equal(drawn(own), before)
    else:
        assert (drawn(own) - before).norm() < 0.05 * before.norm()


@EACH_ADAPTATION
def test_what_trains_changes_the_output_and_off_brings_the_base_back(idea: Idea):
    own = network()
    choice = made(idea)
    base = drawn(own)
    adaptation = attach(own, choice)
    assert bool(adaptation.parameters) == choice.trains
    if not choice.trains:
        return
    trained(adaptation, own)
    adapted = drawn(own)
    assert not torch.equal(adapted, base)
    with adaptation.off():
        assert torch.equal(drawn(own), base)
    assert torch.equal(drawn(own), adapted)


@EACH_ADAPTATION
def test_every_parameter_that_trains_moves_the_output(idea: Idea):
    """None is trained for nothing: each gets a gradient, and each is in the state."""
    own = network()
    adaptation = attach(own, made(idea))
    if not adaptation.parameters:
        return
    trained(adaptation, own)
    moving = [p for p in adaptation.parameters if p is not own.mask_token]
    for gradient in torch.autograd.grad(drawn(own).square().sum(), moving):
        assert gradient.abs().max() > 0
    stored = {tensor.data_ptr() for tensor in adaptation.state().values()}
    assert {p.data_ptr() for p in adaptation.parameters} <= stored


@EACH_ADAPTATION
def test_a_stored_state_brings_the_adapted_network_back(idea: Idea):
    own, choice = network(), made(idea)
    adaptation = attach(own, choice)
    if choice.trains:
        trained(adaptation, own)
    other = network()
    attach(other, choice).load(copied(adaptation))
    assert torch.equal(drawn(other), drawn(own))


@EACH_ADAPTATION
def test_merging_leaves_the_output_and_takes_the_adaptation_away(idea: Idea):
    """To float32's rounding: sums are taken in another order."""
    own, choice = network(), made(idea)
    names = set(own.state_dict())
    adaptation = attach(own, choice)
    if choice.trains:
        trained(adaptation, own)
    expected = drawn(own)
    if not choice.merges:
        with pytest.raises(UserError, match="cannot be written into the weights"):
            adaptation.merge()
        return
    adaptation.merge()
    torch.testing.assert_close(drawn(own), expected, rtol=1e-4, atol=1e-5)
    assert set(own.state_dict()) == names


@EACH_ADAPTATION
def test_an_adaptation_fits_a_network_of_diffusers(idea: Idea):
    """A UNet2DModel: as the base at first, changed, off and back, merged; attention is found."""
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    blocks = {
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    model = UNet2DModel(
        8, 1, 1, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, **blocks
    )
    own = UNet(model.eval(), 1000, 1)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([0.3, 0.6])
    with torch.no_grad():
        base = own(x, t).prediction
        choice = made(idea)
        adaptation = attach(own, choice)
        if choice.exact:
            assert torch.equal(own(x, t).prediction, base)
        for parameter in adaptation.parameters:
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
        changed = own(x, t).prediction
        assert torch.equal(changed, base) != choice.trains
        with adaptation.off():
            assert torch.equal(own(x, t).prediction, base)
        if choice.merges:
            adaptation.merge()
            torch.testing.assert_close(own(x, t).prediction, changed, rtol=1e-4, atol=1e-5)


def objective(choice: TermChoice) -> Objective:
    denoiser = NetworkDenoiser(network(), SCHEDULES["cosine"], "v")
    terms = (choice,) if choice.denoises else (Denoising(), choice)
    start = "base" if choice.from_base else "random"
    choices = Choices(start=start, adaptation=Full(), objective=terms)
    made = make_objective(choices, denoiser)
    refer(made, EMA(dict(denoiser.backbone.state_dict(keep_vars=True)), 0.07))
    return made


def losses(objective: Objective) -> dict[str, Tensor]:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    source = Source(pixels, 0, 16, "cpu")
    batches = {
        stream.name: source.batch(stream, 0, BATCH // stream.views)
        for stream in objective.streams(0.0)
    }
    return objective(batches, 0.0)


@EACH_TERM
def test_a_term_gives_a_finite_loss_for_each_image_and_a_gradient_to_the_network(idea: Idea):
    own = objective(made(idea))
    found = losses(own)[idea.name]
    assert found.shape == (BATCH,)
    assert found.isfinite().all()
    parameters = list(own.denoiser.parameters())
    gradients = torch.autograd.grad(found.mean(), parameters, allow_unused=True)
    known = [gradient for gradient in gradients if gradient is not None]
    assert all(gradient.isfinite().all() for gradient in known)
    assert any(gradient.abs().max() > 0 for gradient in known)


@EACH_TERM
def test_a_term_in_bfloat16_is_that_of_float32_to_its_digits(idea: Idea):
    own = objective(made(idea))
    wide = losses(own)[idea.name].mean()
    with torch.autocast("cpu", torch.bfloat16):
        narrow = losses(own)[idea.name].mean()
    assert narrow.item() == pytest.approx(wide.item(), rel=0.03, abs=0.01)


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("idea", [*ADAPTATIONS, *TERMS], ids=ids)
def test_an_idea_says_itself_in_words_and_as_a_formula(idea: Idea, lang: str):
    choice = made(idea)
    said = choice.sentence(lang)
    assert said == said.strip() and not set(said) & set("{}\n")
    if isinstance(choice, AdaptationChoice):
        assert not set(choice.trainable(lang)) & set("{}\n")
    formula = choice.formula()
    assert formula is not None or isinstance(choice, AdaptationChoice)
    if formula is not None:
        assert mathml(formula.tex) and formula.of(lang)


@pytest.mark.parametrize("ideas", [ADAPTATIONS, TERMS], ids=["adaptations", "terms"])
@pytest.mark.parametrize("lang", ["ja", "en"])
def test_no_two_ideas_say_the_same(ideas: list[Idea], lang: str):
    said = [made(idea).sentence(lang) for idea in ideas]
    assert len(set(said)) == len(said)


@pytest.mark.parametrize("idea", [*ADAPTATIONS, *TERMS], ids=ids)
def test_settings_name_their_idea_and_survive_a_recipe(idea: Idea):
    choice = made(idea)
    assert choice.model_dump()["kind" if idea.group == "adaptations" else "term"] == idea.name
    assert type(choice).model_validate(choice.model_dump(mode="json")) == choice


@pytest.mark.parametrize("idea", [*ADAPTATIONS, *TERMS], ids=ids)
def test_settings_are_documented(idea: Idea):
    assert idea.settings is not None
    assert re.search(r"\w{3}", inspect.getdoc(idea.settings) or "")
    says = getattr(idea.settings, "says", None)
    if says is not None:
        places = [
            {name for _, name, _, _ in string.Formatter().parse(text) if name}
            for text in (says.ja, says.en)
        ]
        assert places[0] == places[1], "both languages say the same settings"
