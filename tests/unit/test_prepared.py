"""What is drawn before training: how much, by whom, what it costs, and who is trained on it."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import load_digits

from kurabe.adaptations.full import Full
from kurabe.data import ImageSet, split
from kurabe.methods.choices import Choices
from kurabe.methods.settings import TermChoice
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.prior import Prior
from kurabe.recipe import Budget, DataSettings, Network, Optimiser, Recipe
from kurabe.records import RunFolder
from kurabe.training import calibrate, load_model, train
from kurabe.training.model import start_model
from kurabe.training.run import Run, prepare

SEED = 3
TERMS = (Denoising(), Prior(images=40, evaluations=6))


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def digits() -> ImageSet:
    pixels = np.rint(load_digits().images[:120] * (255 / 16)).astype(np.uint8)[..., None]
    places = np.arange(120)
    return ImageSet("digits", pixels, tuple(map(str, places)), places)


def recipe(base: Path | None, *terms: TermChoice, images: int = 1200) -> Recipe:
    start = "random" if base is None else "base"
    return Recipe(
        method="tiny",
        choices=Choices(start=start, adaptation=Full(), objective=terms),
        data=DataSettings(source="digits"),
        budget=Budget(images=images),
        base=None if base is None else str(base),
        network=Network(patch=2, width=16, depth=2, heads=2, decoder=1),
        optimiser=Optimiser(batch=32, held_out_share=1.0, lr=1e-2),
        seed=SEED,
    )


def created(folder: Path, settings: Recipe) -> RunFolder:
    return RunFolder(folder).create(settings.to_toml(), {"id": folder.name})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "base"
    settings = recipe(None, Denoising(), images=96)
    train(settings, digits(), split(digits(), SEED), created(folder, settings))
    return folder


def begun(folder: Path, settings: Recipe) -> Run:
    images, run = digits(), created(folder, settings)
    model = start_model(settings, 8, 1)
    return prepare(settings, model, images, split(images, SEED), run, lambda line: None)


@pytest.mark.parametrize(
    ("budget", "count", "price"),
    [
        # 40 · 6 passes at a third of an image each.
        (1200, 40, 80),
        # A fifth of the budget is 30 images, 90 passes, 15 images of 6.
        (150, 15, 30),
        (1, 1, 2),
    ],
)
def test_drawing_is_paid_from_the_budget_and_takes_a_fifth_at_most(
    base: Path, tmp_path: Path, budget: int, count: int, price: int
) -> None:
    plan = begun(tmp_path / "run", recipe(base, *TERMS, images=budget)).plan
    assert list(plan.drawn.values()) == [count]
    assert plan.prepared == price
    assert plan.updates == max(1, math.ceil((budget - price) / 32))
    info = RunFolder(tmp_path / "run").info
    assert (info["prepared_passes"], info["prepared_images"]) == (6 * count, price)


def test_the_drawn_images_are_the_base_s_samples_and_feed_the_prior_s_stream_alone(
    base: Path, tmp_path: Path
) -> None:
    run = begun(tmp_path / "run", recipe(base, *TERMS))
    seeds = range(SEED * 2**20 + 2**19, SEED * 2**20 + 2**19 + 40)
    model = load_model(base)
    # In the same portions: how many images pass together moves the last bit of a product.
    parts = [model.sample(part, 6) for part in (seeds[:32], seeds[32:])]
    expected = model.space.encode(np.concatenate(parts))
    streams = {stream.name: stream for stream in run.objective.streams(0.0)}
    fed = run.source.batch(streams["prior"], 0, 40).images
    # One epoch of the stream is each of the drawn images once.
    order = torch.cdist(fed.flatten(1), expected.flatten(1)).argmin(1)
    assert sorted(order.tolist()) == list(range(40))
    assert torch.equal(fed, expected[order])
    plain = begun(tmp_path / "plain", recipe(base, Denoising()))
    one, other = (of.source.batch(streams["images"], 16, 16) for of in (run, plain))
    assert torch.equal(one.images, other.images) and torch.equal(one.noise, other.noise)


def test_the_prior_is_the_weighted_error_of_x0_on_what_the_base_drew(
    base: Path, tmp_path: Path
) -> None:
    """The loss is computed on what the network predicts, v; here on x₀, whose weight is 1."""
    terms = (Denoising(), Prior(images=40, evaluations=6, weighting="x0"))
    run = begun(tmp_path / "run", recipe(base, *terms))
    batches = run.batches(run.objective.streams(0.0), {}, 0)
    batch, denoiser = batches["prior"], run.objective.denoiser
    assert len(batch.images) == len(batches["images"].images) == 16
    with torch.no_grad():
        found = run.objective(batches, 0.0)["prior"]
        x_t = denoiser.noisy(batch.images, batch.noise, batch.t)
        error = (denoiser(x_t, batch.t) - batch.images).square().flatten(1).mean(1)
    torch.testing.assert_close(found, error, rtol=1e-4, atol=1e-5)


def test_a_run_keeps_account_and_lets_go_of_what_was_drawn(base: Path, tmp_path: Path) -> None:
    settings = recipe(base, *TERMS, images=320)
    folder = created(tmp_path / "run", settings)
    train(settings, digits(), split(digits(), SEED), folder)
    info = folder.info
    # A fifth of 320 is 64 images: 32 of 6 passes each, which cost all of it.
    assert (info["prepared_passes"], info["prepared_images"]) == (192, 64)
    assert info["images_seen"] == 256 and folder.images_paid == 320
    assert 0 < info["prepared_seconds"] < info["seconds"]
    assert list(folder.checkpoints.glob("drawn-*")) == []


def test_to_measure_its_speed_nothing_is_drawn(base: Path) -> None:
    """Of a budget without end a fifth would hold all of these passes: they would take weeks."""
    endless = Prior(images=10**6, evaluations=10**4)
    found = calibrate({"a": recipe(base, Denoising(), endless)}, digits(), seconds=0.0)
    assert found["a"].rate > 0


def test_without_a_base_there_is_nothing_to_preserve() -> None:
    with pytest.raises(ValidationError, match="the term prior needs a base"):
        Choices(start="random", adaptation=Full(), objective=(Denoising(), Prior()))
