"""The closed form against exact posteriors, other libraries, and its estimates' own formulas."""

import copy
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import scipy.special
import scipy.stats
import torch
from pydantic import ValidationError
from torch import Tensor

from kurabe.data import ImageSet, Split
from kurabe.diffusion import SCHEDULES, GaussianDenoiser, NetworkDenoiser
from kurabe.diffusion.mixture import (
    LEAST_VARIANCE,
    NO_WEIGHT,
    MixtureDenoiser,
    cosines,
    lowest,
    shrunk_correlations,
)
from kurabe.errors import UserError
from kurabe.methods import Choices, choices_of, find
from kurabe.recipe import Budget, DataSettings, Network, Optimiser, Recipe
from kurabe.records import RunFolder
from kurabe.spaces import scaled
from kurabe.training import load_model, train
from kurabe.training.ema import EMA
from kurabe.training.model import Model, _to_fit, make_denoiser

SIDES, CHANNELS = (4, 6), 2
VALUES = CHANNELS * SIDES[0] * SIDES[1]


def drawn(count: int, seed: int = 0) -> Tensor:
    """Images whose neighbours go together: a random mixing of independent values, off centre."""
    g = torch.Generator().manual_seed(seed)
    mixing = torch.randn(VALUES, VALUES, generator=torch.Generator().manual_seed(9)) / VALUES**0.5
    flat = 0.4 * torch.randn(count, VALUES, generator=g) @ mixing + 0.2
    return flat.view(count, CHANNELS, *SIDES)


def moments(linear: MixtureDenoiser) -> tuple[Tensor, Tensor]:
    """μ and Σ that it stands for, of images, float64: from what it makes of unit images."""
    linear = copy.deepcopy(linear).double()
    one = torch.ones(1, 1, 1, 1).double()
    unit = torch.eye(VALUES).view(VALUES, CHANNELS, *SIDES).double()
    none = linear(0 * unit[:1], 0 * one, one)[0]
    # At σ = 1 and a small α it is μ + α Σ x + O(α²).
    small = 1e-6 * one
    slope = linear(unit, small, one)[0] - linear(0 * unit, small, one)[0]
    return none[0].float(), (slope / small).flatten(1).float()


def test_cosines_are_those_of_scipy() -> None:
    image = torch.randn(5, 7, dtype=torch.float64)
    own = cosines(5).double() @ image @ cosines(7).double().T
    other = torch.from_numpy(scipy.fft.dctn(image.numpy(), norm="ortho"))
    torch.testing.assert_close(own, other, rtol=0, atol=2e-6)


@pytest.mark.parametrize("schedule", ["cosine", "flow"])
def test_it_is_the_exact_denoiser_of_its_own_moments(schedule: str) -> None:
    linear = MixtureDenoiser(CHANNELS, SIDES)
    linear.fit(drawn(400))
    mean, covariance = moments(linear)
    exact = GaussianDenoiser(mean, (covariance + covariance.T) / 2, SCHEDULES[schedule])
    x, t = torch.randn(6, CHANNELS, *SIDES), torch.linspace(0.05, 1, 6)
    alpha, sigma = exact.coefficients(t, x)
    x0, eps = linear(x, alpha, sigma)
    torch.testing.assert_close(x0, exact(x, t), rtol=0, atol=1e-5)
    # Both parts make up x_t, which is where neither is divided by a small number.
    torch.testing.assert_close(alpha * x0 + sigma * eps, x, rtol=1e-4, atol=1e-5)


def test_many_images_give_their_own_mean_and_covariance() -> None:
    images = drawn(40_000)
    linear = MixtureDenoiser(CHANNELS, SIDES)
    linear.fit(images)
    mean, covariance = moments(linear)
    torch.testing.assert_close(mean, images.mean(0), rtol=0, atol=1e-5)
    known = torch.from_numpy(np.cov(images.flatten(1).T.numpy())).float()
    # Of 40,000 the shrinkage leaves all but a thousandth.
    assert (covariance - known).norm() / known.norm() < 5e-3


def test_beyond_the_lowest_frequencies_each_stands_alone() -> None:
    images = drawn(3000)
    linear = MixtureDenoiser(CHANNELS, SIDES, modes=8)
    assert linear.low == (2, 2)
    linear.fit(images)
    modes = scipy.fft.dctn(images.numpy(), axes=(2, 3), norm="ortho")
    variances = torch.from_numpy(modes.var(axis=0, ddof=1))
    torch.testing.assert_close(linear.variances[:, 2:], variances[:, 2:], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        linear.variances[:, :2, :2].sum(), variances[:, :2, :2].sum(), rtol=1e-4, atol=1e-6
    )


def test_what_never_varies_keeps_the_variance_of_rounding() -> None:
    linear = MixtureDenoiser(1, (2, 2))
    linear.fit(torch.full((5, 1, 2, 2), 0.5))
    assert linear.variances.flatten().tolist() == pytest.approx([LEAST_VARIANCE] * 4)
    x0, eps = linear(torch.full((1, 1, 2, 2), 0.5), *torch.tensor([1.0, 0.0]).view(2, 1, 1, 1, 1))
    torch.testing.assert_close(x0, torch.full((1, 1, 2, 2), 0.5))
    assert eps.abs().max() == 0


def test_one_image_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="at least two images"):
        MixtureDenoiser(1, (2, 2)).fit(torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize(
    ("channels", "sides", "expected"),
    [(3, (32, 32), (18, 18)), (1, (28, 28), (28, 28)), (3, (8, 64), (8, 18)), (4, (4, 4), (4, 4))],
)
def test_lowest_frequencies(
    channels: int, sides: tuple[int, int], expected: tuple[int, int]
) -> None:
    """At most 1024 of all channels together: 3 · 18² = 972, 1 · 28² = 784."""
    assert lowest(channels, sides, 1024) == expected


def test_shrinkage_by_the_papers_sums() -> None:
    """Schäfer & Strimmer's λ summed pair by pair, in Python."""
    z = torch.from_numpy(np.random.default_rng(0).normal(size=(12, 4))).double()
    z[:, 1] += z[:, 0]
    z = (z - z.mean(0)) / z.std(0)
    n, over, under = 12, 0.0, 0.0
    for i in range(4):
        for j in range(4):
            if i != j:
                w = z[:, i] * z[:, j]
                over += n / (n - 1) ** 3 * float((w - w.mean()).square().sum())
                under += float(n / (n - 1) * w.mean()) ** 2
    kept = 1 - min(1.0, over / under)
    found = shrunk_correlations(z)
    expected = kept * (z.T @ z) / (n - 1)
    assert 0 < kept < 1
    assert found[0, 1].item() == pytest.approx(expected[0, 1].item(), rel=1e-12)
    assert found.diagonal().tolist() == [1.0] * 4


def test_shrunk_correlations_are_nearer_the_truth_than_plain_ones() -> None:
    """Its purpose, at 20 draws of 30 values that are weakly related (the paper's figure 1)."""
    truth = 0.2 ** (torch.arange(30).unsqueeze(0) - torch.arange(30).unsqueeze(1)).abs().double()
    root = torch.linalg.cholesky(truth)
    plain, shrunk = [], []
    for seed in range(20):
        g = torch.Generator().manual_seed(seed)
        z = torch.randn(20, 30, generator=g, dtype=torch.float64) @ root.T
        z = (z - z.mean(0)) / z.std(0)
        plain.append((z.T @ z / 19 - truth).square().sum())
        shrunk.append((shrunk_correlations(z) - truth).square().sum())
    assert max(s / p for s, p in zip(shrunk, plain, strict=True)) < 0.4


def clustered(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images of three far-off kinds, .5, .3 and .2 of all; the kinds' means; which each is of."""
    g = torch.Generator().manual_seed(4)
    means = torch.randn(3, CHANNELS, *SIDES, generator=g)
    kinds = torch.arange(count) % 10
    kinds = torch.where(kinds < 5, 0, torch.where(kinds < 8, 1, 2))
    return means[kinds] + 0.3 * (drawn(count) - 0.2), means, kinds


def test_the_posterior_mean_of_a_mixture_component_by_component() -> None:
    """Bayes' rule with scipy's densities, over all three components of what was fitted."""
    mixture = MixtureDenoiser(CHANNELS, SIDES, components=3)
    mixture.fit(clustered(2000)[0])
    mixture = mixture.double()
    # The axes were found in float32, and are as far from orthogonal, as the cosines are.
    for name in ("axes", "by_rows", "by_columns"):
        q, r = torch.linalg.qr(getattr(mixture, name))
        setattr(mixture, name, q * r.diagonal().sign())
    of_axes = torch.eye(VALUES).view(VALUES, CHANNELS, *SIDES).double()
    basis = mixture._to_images(of_axes).flatten(1).numpy()
    covariance = basis.T @ np.diag(mixture.variances.flatten().numpy()) @ basis
    low = mixture._low(mixture.mean.unsqueeze(0)) + mixture.centres
    along = mixture._with_low(mixture.mean.expand(3, -1, -1, -1), low)
    centres = mixture._to_images(along).flatten(1).numpy()
    weights = mixture.log_weights.exp().numpy()
    x = torch.randn(5, CHANNELS, *SIDES, generator=torch.Generator().manual_seed(2)).double()
    for share in (0.2, 0.9, 3.0):
        sigma = share / math.hypot(1, share)
        alpha = math.sqrt(1 - sigma**2)
        total = alpha**2 * covariance + sigma**2 * np.eye(VALUES)
        flat = x.flatten(1).numpy()
        logs = np.stack(
            [
                np.log(w) + scipy.stats.multivariate_normal.logpdf(flat, alpha * c, total)
                for w, c in zip(weights, centres, strict=True)
            ]
        )
        r = scipy.special.softmax(logs, axis=0)
        gain = alpha * covariance @ np.linalg.inv(total)
        parts = np.stack([c + (flat - alpha * c) @ gain.T for c in centres])
        expected = (r[:, :, None] * parts).sum(0)
        at = torch.tensor([alpha, sigma], dtype=torch.float64).view(2, 1, 1, 1, 1)
        x0, eps = mixture(x, at[0], at[1])
        np.testing.assert_allclose(x0.flatten(1).numpy(), expected, rtol=0, atol=1e-9)
        torch.testing.assert_close(at[0] * x0 + at[1] * eps, x, rtol=0, atol=1e-9)


def test_far_off_kinds_become_components() -> None:
    images, means, kinds = clustered(2000)
    mixture = MixtureDenoiser(CHANNELS, SIDES, components=3)
    mixture.fit(images)
    assert sorted(mixture.log_weights.exp().tolist()) == pytest.approx([0.2, 0.3, 0.5], abs=1e-6)
    one = torch.ones(1, 1, 1, 1)
    # At little noise an image of a kind is told from the others: its residual alone is shrunk.
    found = mixture(means, one, 1e-3 * one)[0]
    torch.testing.assert_close(found, means, rtol=0, atol=2e-3)
    # At noise alone nothing is known but the mean of all.
    mean = mixture(torch.randn(2, CHANNELS, *SIDES), 0 * one, one)[0]
    torch.testing.assert_close(mean, images.mean(0).expand(2, -1, -1, -1), rtol=0, atol=1e-5)
    within = torch.stack([images[kinds == k].var(0, correction=0).sum() for k in range(3)])
    pooled = (within * torch.tensor([0.5, 0.3, 0.2])).sum() * 2000 / 1997
    torch.testing.assert_close(mixture.variances.sum(), pooled, rtol=1e-4, atol=0)


def test_a_mixture_has_no_more_components_than_a_32nd_of_its_images() -> None:
    for count, components in ((63, 1), (64, 2), (1000, 8)):
        mixture = MixtureDenoiser(CHANNELS, SIDES, components=8)
        mixture.fit(drawn(count))
        assert int((mixture.log_weights > NO_WEIGHT).sum()) == components


def preconditioned(kind: str, seed: int = 0) -> NetworkDenoiser:
    shape = Network(patch=2, width=32, depth=2, heads=2, decoder=1, precondition=kind)  # pyright: ignore[reportArgumentType]
    torch.manual_seed(seed)
    denoiser = make_denoiser(shape, SIDES, CHANNELS)
    linear = denoiser.backbone.preconditioner
    assert linear is not None
    linear.fit(drawn(200))
    return denoiser


@pytest.mark.parametrize("kind", ["covariance", "mixture", "patches"])
def test_a_new_network_behind_it_is_the_closed_form(kind: str) -> None:
    denoiser = preconditioned(kind)
    x, t = torch.randn(3, CHANNELS, *SIDES), torch.tensor([0.2, 0.6, 0.95])
    linear = denoiser.backbone.preconditioner
    assert linear is not None
    expected = linear(x, *denoiser.coefficients(t, x))[0]
    torch.testing.assert_close(denoiser(x, t), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["covariance", "mixture", "patches"])
def test_what_was_dropped_does_not_come_back_through_it(kind: str) -> None:
    denoiser = preconditioned(kind)
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    backbone = denoiser.backbone
    x, t = torch.randn(2, CHANNELS, *SIDES), torch.tensor([0.3, 0.7])
    keep = torch.tensor([[0, 3], [1, 5]])
    other = backbone.hide(x, keep, torch.full((), 7.0))
    assert not torch.equal(x, other)
    one, two = (denoiser.predict(image, t, keep=keep, layers=("block-1",)) for image in (x, other))
    assert torch.equal(one.prediction, two.prediction)
    assert torch.equal(one.features["block-1"], two.features["block-1"])


def test_of_few_different_images_the_mixture_is_those_and_nothing_is_warned_of() -> None:
    """Fault: a line about k-means that had found fewer clusters came between a run's own."""
    images = drawn(3)[torch.arange(300) % 3]
    mixture = MixtureDenoiser(CHANNELS, SIDES, components=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixture.fit(images)
    assert mixture.log_weights.exp().sum().item() == pytest.approx(1)
    one = torch.ones(1, 1, 1, 1)
    torch.testing.assert_close(mixture(images[:3], one, 1e-3 * one)[0], images[:3])


def test_clusters_are_searched_for_among_a_part_of_many_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """k-means over 42,799 images took 14 s; over every fifth it finds the same three kinds."""
    monkeypatch.setattr("kurabe.diffusion.mixture.SEARCHED", 400)
    mixture = MixtureDenoiser(CHANNELS, SIDES, components=3)
    mixture.fit(clustered(2001)[0])
    shares = [400 / 2001, 600 / 2001, 1001 / 2001]
    assert sorted(mixture.log_weights.exp().tolist()) == pytest.approx(shares, abs=1e-6)


@pytest.mark.parametrize("kind", ["covariance", "mixture", "patches"])
def test_an_average_of_weights_keeps_what_was_fitted(kind: str) -> None:
    """Fault: of 200 images there are 6 components of 128, and −∞ less −∞ made all samples NaN."""
    denoiser = preconditioned(kind)
    fitted = {name: value.clone() for name, value in denoiser.backbone.named_buffers()}
    average = EMA(dict(denoiser.backbone.state_dict(keep_vars=True)), 0.07)
    for update in range(1, 5):
        average.update(16 * update, 16)
    with average.applied():
        for name, value in denoiser.backbone.named_buffers():
            assert torch.equal(value, fitted[name]), name
        assert denoiser(torch.randn(2, CHANNELS, *SIDES), torch.tensor([0.3, 1.0])).isfinite().all()


def test_a_recipe_without_it_is_written_as_before() -> None:
    assert "precondition" not in Network().model_dump()
    assert Network(precondition="covariance").model_dump()["precondition"] == "covariance"


DIGITS = (np.arange(40 * 64).reshape(40, 8, 8, 1) * 37 % 251).astype(np.uint8)


def trained(folder: Path, **changes: object) -> tuple[Model, RunFolder]:
    """A run on 40 images of noise, behind a mixture, or from a base that is."""
    base = changes.pop("base", None)
    choices = choices_of(find(str(changes.pop("method", "ddpm"))))
    recipe = Recipe(
        method="m",
        choices=choices.model_copy(update=changes),
        data=DataSettings(source="noise"),
        budget=Budget(images=64),
        base=base,  # pyright: ignore[reportArgumentType]
        network=Network(patch=2, width=32, depth=2, heads=2, precondition="mixture"),
        optimiser=Optimiser(batch=16, held_out_share=0.5),
    )
    places = np.arange(40)
    own = DIGITS if base is None else 255 - DIGITS[::-1] // 2
    images = ImageSet("noise", own, tuple(map(str, places)), places)
    run = RunFolder(folder)
    run.create(recipe.to_toml(), {"id": "m"})
    model = train(recipe, images, Split(places[:30], places[30:35], places[35:]), run)
    run.update(status="finished")
    return model, run


@pytest.mark.parametrize("method", ["full-fine-tuning", "lora", "base", "bitfit"])
def test_a_base_is_fitted_anew_and_can_be_had_back(tmp_path: Path, method: str) -> None:
    """The mean of the run's own images; what it was is there without it, what it is once loaded."""
    start, _ = trained(tmp_path / "base")
    model, run = trained(tmp_path / "run", method=method, base=str(tmp_path / "base"), refit=True)
    of_base, own = (m.denoiser.backbone.preconditioner for m in (start, model))
    assert of_base is not None and own is not None
    expected = scaled(255 - DIGITS[::-1][:30] // 2).mean(0)
    torch.testing.assert_close(own.mean_image(), expected, rtol=0, atol=1e-5)
    assert (own.mean_image() - of_base.mean_image()).abs().max() > 0.1
    with model.adaptation.off():
        assert torch.equal(own.axes, of_base.axes) and torch.equal(own.mean, of_base.mean)
        assert np.array_equal(model.sample([3], 4), start.sample([3], 4))
    torch.testing.assert_close(own.mean_image(), expected, rtol=0, atol=1e-5)
    again = load_model(tmp_path / "run")
    assert np.array_equal(again.sample([3], 4), model.sample([3], 4))
    assert run.info["prepared_seconds"] > 0
    # Without it the base's own stays.
    kept, _ = trained(tmp_path / "kept", method=method, base=str(tmp_path / "base"))
    same = kept.denoiser.backbone.preconditioner
    assert same is not None and torch.equal(same.mean, of_base.mean)


def test_what_cannot_be_fitted_anew_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="this method has no base"):
        Choices.model_validate(choices_of(find("ddpm")).model_dump() | {"refit": True})
    plain = make_denoiser(Network(patch=2, width=32, depth=2, heads=2), 8, 1).backbone
    with pytest.raises(UserError, match=r"choices.refit = true: B stands behind no closed form"):
        _to_fit(plain, "B")


def test_a_closed_form_is_of_one_size() -> None:
    backbone = preconditioned("mixture").backbone
    with pytest.raises(ValueError, match="in closed form for one size"):
        backbone.take_sizes([SIDES, (6, 4)], trained=False)
