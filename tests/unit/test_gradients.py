"""Cosines between the gradients of two losses, where they are known beforehand."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kurabe.adaptations.full import Full
from kurabe.backbones import PatchTransformer
from kurabe.data import ImageSet, Split
from kurabe.diffusion import SCHEDULES, NetworkDenoiser
from kurabe.methods.choices import Choices
from kurabe.objectives.contrastive import Contrastive
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.denoising.term import DenoisingTerm
from kurabe.objectives.masked import Masked
from kurabe.objectives.objective import Objective
from kurabe.objectives.term import Pass, Stream
from kurabe.recipe import Budget, DataSettings, Network, Optimiser, Recipe
from kurabe.records import RunFolder
from kurabe.training.batches import Source
from kurabe.training.gradients import cosine, cosines_by_band, gradient_cosines
from kurabe.training.held_out import band_log_snrs
from kurabe.training.model import start_model
from kurabe.training.run import prepare

EDGES = (-4.0, 0.0, 4.0)


class Scaled(DenoisingTerm):
    """The denoising loss times a number, so that its gradient is known from the other's."""

    def __init__(self, factor: float) -> None:
        super().__init__(Denoising(), denoiser())
        self.factor = factor

    def forward(self, passes: Mapping[str, Pass]) -> Tensor:
        return self.factor * super().forward(passes)


class OfNothing(DenoisingTerm):
    """A loss of the network's size alone: what it reaches is a single tensor, by 2 θ."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__(Denoising(), denoiser())
        self.reads = [weight]

    def forward(self, passes: Mapping[str, Pass]) -> Tensor:
        return self.reads[0].square().sum().expand(len(passes["images"].x_t))


def denoiser() -> NetworkDenoiser:
    torch.manual_seed(0)
    network = PatchTransformer(8, 1, patch=2, width=16, depth=2, heads=2, decoder=1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    return NetworkDenoiser(network, SCHEDULES["cosine"], "v")


def cosines(objective: Objective, edges: tuple[float, ...], count: int = 12, first: int = 0):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    batch = Source(pixels, 0, 16, "cpu").batch(Stream("images"), first, count)
    positions = range(first, first + count)
    return cosines_by_band(objective, {"images": batch}, 0.0, positions, edges), batch


def test_cosines_of_known_vectors() -> None:
    assert cosine(torch.tensor([3.0, 4.0]), torch.tensor([4.0, 3.0])) == pytest.approx(24 / 25)
    assert cosine(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])) == 0
    assert cosine(torch.zeros(2), torch.ones(2)) is None


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 1.0), (3.0, 1.0), (-0.5, -1.0)])
def test_a_term_agrees_with_itself_and_opposes_its_negative(factor: float, expected: float) -> None:
    objective = Objective(
        denoiser(), {"denoising": DenoisingTerm(Denoising(), denoiser()), "other": Scaled(factor)}
    )
    found, _ = cosines(objective, (-4.0, 4.0))
    assert found == {"other": [pytest.approx(expected, abs=1e-5)]}


def test_bands_hold_the_images_noised_in_them() -> None:
    """With the same loss twice, h = g_1 + g_2: the cosines follow from g_1 and g_2 alone."""
    objective = Objective(
        denoiser(), {"denoising": DenoisingTerm(Denoising(), denoiser()), "other": Scaled(1.0)}
    )
    first, count = 5, 12
    found, batch = cosines(objective, EDGES, count, first)
    weights = list(objective.denoiser.backbone.parameters())
    gradients: list[Tensor] = []
    for band in range(2):
        rows = torch.tensor([i for i in range(count) if (first + i) % 2 == band])
        log_snrs = torch.from_numpy(band_log_snrs(EDGES, range(first, first + count)))[rows, band]
        low, high = EDGES[band], EDGES[band + 1]
        assert ((low <= log_snrs) & (log_snrs <= high)).all()
        t = objective.denoiser.schedule.time_of_log_snr(log_snrs.double()).float()
        own = batch.rows(rows)
        x_t = objective.denoiser.noisy(own.images, own.noise, t)
        prediction = objective.denoiser.predict(x_t, t).prediction
        loss = objective.denoiser.loss(prediction, own.images, own.noise, t, "v")
        found_g = torch.autograd.grad(loss.flatten(1).mean(1).sum(), weights, allow_unused=True)
        gradients.append(torch.cat([g.flatten() for g in found_g if g is not None]).double())
    h = gradients[0] + gradients[1]
    expected = [float(g @ h / g.norm() / h.norm()) for g in gradients]
    assert found["other"] == [pytest.approx(value, abs=1e-5) for value in expected]
    assert abs(expected[0] - expected[1]) > 1e-3


def test_only_the_weights_that_the_other_term_reaches_count() -> None:
    network = denoiser()
    weight = next(p for p in network.backbone.parameters() if p.dim() == 2)
    objective = Objective(
        network, {"denoising": DenoisingTerm(Denoising(), denoiser()), "other": OfNothing(weight)}
    )
    found, batch = cosines(objective, (-4.0, 4.0))
    t = network.schedule.time_of_log_snr(
        torch.from_numpy(band_log_snrs((-4.0, 4.0), range(12)))[:, 0].double()
    ).float()
    x_t = network.noisy(batch.images, batch.noise, t)
    loss = network.loss(network.predict(x_t, t).prediction, batch.images, batch.noise, t, "v")
    (g,) = torch.autograd.grad(loss.flatten(1).mean(1).sum(), [weight])
    expected = float((g * weight.detach()).sum() / g.norm() / weight.detach().norm())
    assert found["other"] == [pytest.approx(expected, abs=1e-5)]


def test_a_band_without_images_has_no_cosine() -> None:
    objective = Objective(
        denoiser(), {"denoising": DenoisingTerm(Denoising(), denoiser()), "other": Scaled(1.0)}
    )
    found, _ = cosines(objective, EDGES, count=1)
    assert found["other"] == [pytest.approx(1.0, abs=1e-5), None]


@pytest.mark.parametrize(
    ("term", "told"),
    [
        (Contrastive(comparison_batch=4), {"contrastive"}),
        (Contrastive(comparison_batch=4, share=1), {"contrastive"}),
        (Masked(), {"masked"}),
        (None, set()),
    ],
)
def test_measuring_draws_nothing_and_moves_nothing(
    tmp_path: Path, term: Contrastive | Masked | None, told: set[str]
) -> None:
    places = np.arange(40)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    images = ImageSet("noise", pixels, tuple(map(str, places)), places)
    terms = (Denoising(), term) if term else (Denoising(),)
    recipe = Recipe(
        method="tiny",
        choices=Choices(start="random", adaptation=Full(), objective=terms),
        data=DataSettings(source="digits"),
        budget=Budget(images=64),
        network=Network(patch=2, width=16, depth=2, heads=2, decoder=1),
        optimiser=Optimiser(batch=32),
    )
    model = start_model(recipe, 8, 1)
    split = Split(train=places[:30], validation=places[30:], test=places[:0])
    run = prepare(recipe, model, images, split, RunFolder(tmp_path), lambda line: None)
    before = {name: p.detach().clone() for name, p in run.objective.named_parameters()}
    drawn = torch.random.get_rng_state()
    found = gradient_cosines(run)
    assert found == gradient_cosines(run)
    assert set(found) == told
    for values in found.values():
        assert len(values) == 6
        assert all(value is None or abs(value) <= 1 + 1e-6 for value in values)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    for name, parameter in run.objective.named_parameters():
        assert parameter.grad is None and torch.equal(parameter, before[name])
