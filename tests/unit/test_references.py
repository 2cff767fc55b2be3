"""Frozen networks that terms read, and the terms that follow them, against the formulas."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kurabe.adaptations.full import Full
from kurabe.adaptations.lora import LowRank
from kurabe.backbones import PatchTransformer
from kurabe.data import ImageSet, Split
from kurabe.diffusion import SCHEDULES, NetworkDenoiser
from kurabe.errors import UserError
from kurabe.methods.choices import Choices
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.objective import Objective, make_objective
from kurabe.objectives.self_alignment import SelfAlignment
from kurabe.objectives.term import Pass, Stream, StreamTerm, on_grid
from kurabe.recipe import Budget, DataSettings, Network, Optimiser, Recipe
from kurabe.records import RunFolder
from kurabe.training.batches import Source
from kurabe.training.ema import EMA
from kurabe.training.loop import update
from kurabe.training.model import start_model
from kurabe.training.references import refer
from kurabe.training.run import Run, prepare

TINY = Network(patch=2, width=16, depth=3, heads=2, decoder=1)
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)


def recipe(*terms: SelfAlignment) -> Recipe:
    return Recipe(
        method="tiny",
        choices=Choices(start="random", adaptation=Full(), objective=(Denoising(), *terms)),
        data=DataSettings(source="none"),
        budget=Budget(images=320),
        network=TINY,
        optimiser=Optimiser(batch=32, lr=1e-2),
    )


def begun(folder: Path, settings: Recipe) -> Run:
    places = np.arange(len(PIXELS))
    images = ImageSet("noise", PIXELS, tuple(map(str, places)), places)
    parts = Split(train=places[:32], validation=places[32:], test=places[:0])
    model = start_model(settings, 8, 1)
    return prepare(settings, model, images, parts, RunFolder(folder), lambda line: None)


@pytest.fixture(autouse=True)
def torch_as_it_was():
    yield
    torch.use_deterministic_algorithms(False)


def test_the_teacher_is_the_moving_average_after_every_update(tmp_path: Path) -> None:
    run = begun(tmp_path, recipe(SelfAlignment()))
    teacher = run.objective.references["teacher"].backbone
    start = {name: value.clone() for name, value in teacher.state_dict().items()}
    for _ in range(3):
        update(run)
        state = teacher.state_dict()
        for name, average in run.training.ema.average.items():
            assert torch.equal(state[name], average)
    assert not torch.equal(state["embed.weight"], start["embed.weight"])
    own = run.model.denoiser.backbone.state_dict()
    assert not torch.equal(state["embed.weight"], own["embed.weight"])
    assert not any(p.requires_grad for p in teacher.parameters())
    # It is no part of what trains, is saved or is passed between processes.
    assert not any("teacher" in name for name, _ in run.objective.named_parameters())


class Reading(StreamTerm):
    references = ("base",)


class Asking(StreamTerm):
    references = ("oracle",)


def test_the_base_stays_what_it_was() -> None:
    network = PatchTransformer(8, 1, patch=2, width=16, depth=2, heads=2)
    denoiser = NetworkDenoiser(network, SCHEDULES["cosine"], "v")
    objective = Objective(denoiser, {"reading": Reading(1.0, Stream("images"), losses_of)})
    refer(objective, EMA({}, 0.07))
    before = network.embed.weight.detach().clone()
    with torch.no_grad():
        network.embed.weight.add_(1)
    assert torch.equal(objective.references["base"].backbone.embed.weight, before)
    asking = Objective(denoiser, {"asking": Asking(1.0, Stream("images"), losses_of)})
    with pytest.raises(ValueError, match="no reference oracle; there are base, teacher"):
        refer(asking, EMA({}, 0.07))


def losses_of(images: Pass) -> Tensor:
    return images.batch.t


def shape_of_smooth_l1(d: Tensor) -> Tensor:
    return torch.where(d.abs() < 0.05, d.square() / 0.1, d.abs() - 0.025)


@pytest.mark.parametrize("distance", ["smooth-l1", "cosine"])
def test_self_alignment_is_between_an_early_layer_and_the_average_s_later_one(
    tmp_path: Path, distance: str
) -> None:
    """The teacher's pass computed by the network itself, holding the average for a moment."""
    run = begun(tmp_path, recipe(SelfAlignment(distance=distance, gap=0.3)))
    for _ in range(2):
        update(run)
    batches = run.batches(run.objective.streams(0.0), {}, 0)
    batch, denoiser = batches["images"], run.objective.denoiser
    with torch.no_grad():
        found = run.objective(batches, 0.0)["self-alignment"]
        early = denoiser.features(
            denoiser.noisy(batch.images, batch.noise, batch.t), batch.t, None, ("block-1",)
        )["block-1"]
        head = run.objective.terms["self-alignment"].head
        second = (batch.t - batch.gap).clamp(min=0)
        with run.training.ema.applied():
            x = denoiser.noisy(batch.images, batch.noise, second)
            late = denoiser.features(x, second, None, ("block-2",))["block-2"]
        predicted = head(early)
    if distance == "smooth-l1":
        expected = shape_of_smooth_l1(predicted - late).mean((1, 2))
    else:
        product = (predicted * late).sum(-1) / predicted.norm(dim=-1) / late.norm(dim=-1)
        expected = (1 - product).mean(1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_only_the_early_layer_and_the_head_are_drawn_along(tmp_path: Path) -> None:
    run = begun(tmp_path, recipe(SelfAlignment()))
    update(run)
    losses = run.objective(run.batches(run.objective.streams(0.0), {}, 0), 0.0)
    named = dict(run.objective.named_parameters())
    gradients = torch.autograd.grad(
        losses["self-alignment"].sum(), list(named.values()), allow_unused=True
    )
    moved = {name for name, g in zip(named, gradients, strict=True) if g is not None}
    assert "denoiser.backbone.blocks.0.qkv.weight" in moved
    assert "terms.self-alignment.head.2.weight" in moved
    assert not any(".blocks.1." in name or ".blocks.2." in name for name in moved)


def test_second_times_lie_within_the_gap_and_leave_all_else_as_it_was() -> None:
    source = Source(PIXELS, 0, 16, "cpu")
    plain, two = source.batch(Stream("a"), 0, 400), source.batch(Stream("a", gap=0.2), 0, 400)
    assert plain.gap is None and two.gap is not None
    assert torch.equal(plain.t, two.t) and torch.equal(plain.noise, two.noise)
    assert two.gap.min() >= 0 and two.gap.max() < 0.2
    # A uniform's mean, to four of its standard errors.
    assert float(two.gap.mean()) == pytest.approx(0.1, abs=4 * 0.2 / 12**0.5 / 400**0.5)
    assert torch.equal(two.earlier, (two.t - two.gap).clamp(min=0))
    assert float(np.corrcoef(two.t, two.gap)[0, 1]) == pytest.approx(0, abs=0.2)
    later = source.batch(Stream("a", gap=0.2), 100, 50)
    assert later.gap is not None and torch.equal(later.gap, two.gap[100:150])


def test_tokens_on_another_grid_are_areas_means_or_straight_lines() -> None:
    """A plane a + b·row + c·column, whose halves a triangle of twice the width leaves a plane."""
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    plane = torch.stack([rows, columns], -1).reshape(1, 64, 2)
    halved = on_grid(plane, (8, 8), (4, 4)).reshape(4, 4, 2)
    inner = torch.stack(torch.meshgrid(*[2 * torch.arange(4.0) + 0.5] * 2, indexing="ij"), -1)
    torch.testing.assert_close(halved[1:3, 1:3], inner[1:3, 1:3])
    assert torch.equal(on_grid(plane, (8, 8), (8, 8)), plane)
    one = on_grid(torch.tensor([[[3.0, 4.0]]]), (1, 1), (2, 5))
    assert torch.equal(one, torch.tensor([3.0, 4.0]).expand(1, 10, 2))


def test_one_layer_cannot_follow_itself(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"early = 0.6 and late = 0.67 are both block-2 of"):
        begun(tmp_path, recipe(SelfAlignment(early=0.6)))


def test_a_low_rank_update_has_a_teacher_too() -> None:
    """The average holds the update alone; the rest of the teacher is the base's."""
    from kurabe.adaptations import attach

    network = PatchTransformer(8, 1, patch=2, width=16, depth=3, heads=2)
    adaptation = attach(network, LowRank(rank=2))
    denoiser = NetworkDenoiser(network, SCHEDULES["cosine"], "v")
    choices = Choices(
        start="base", adaptation=LowRank(rank=2), objective=(Denoising(), SelfAlignment())
    )
    objective, ema = make_objective(choices, denoiser), EMA(adaptation.state(), 0.07)
    refer(objective, ema)
    with torch.no_grad():
        for parameter in adaptation.parameters:
            parameter.add_(torch.randn_like(parameter))
    ema.update(32, 32)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([0.2, 0.7])
    with torch.no_grad():
        own = denoiser.features(x, t, layers=("block-3",))["block-3"]
        teacher = objective.references["teacher"].features(x, t, layers=("block-3",))["block-3"]
    assert torch.equal(own, teacher)
