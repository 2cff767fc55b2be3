"""How a stream's times are spread, and what Diff-Tuning makes of it, against closed forms."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from kurabe.adaptations.full import Full
from kurabe.backbones import PatchTransformer
from kurabe.diffusion import SCHEDULES, NetworkDenoiser
from kurabe.methods import catalogue, choices_of
from kurabe.methods.choices import Choices
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.objective import make_objective
from kurabe.objectives.prior import Prior
from kurabe.objectives.term import LAWS, Stream, falling, rising
from kurabe.randomness import generator
from kurabe.training.batches import Source, Sources

COUNT = 4096
WHITE = np.full((40, 4, 4, 1), 255, dtype=np.uint8)


def source() -> Source:
    return Source(WHITE, 0, 4, "cpu")


def times(stream: Stream) -> Tensor:
    return source().batch(stream, 0, COUNT).t


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("name", ["rising", "falling"])
def test_a_law_gives_the_odds_of_the_authors_code(name: str, views: int) -> None:
    """thuml/Diffusion-Tuning, train.py: timestep i of 1,000 with odds i, or 1,001 − i.

    Kolmogorov's distance: a golden-ratio sequence of 4,096 stays below .001, and one step of
    1,000 holds .002 at most; independent draws of two views stay below 1.95/√8192 at p = .001.
    """
    odds = np.arange(1.0, 1001)
    odds = odds if name == "rising" else odds[::-1]
    expected = np.concatenate([[0], np.cumsum(odds / odds.sum())])
    found = np.sort(times(Stream("a", law=LAWS[name], views=views)).numpy())
    below = np.searchsorted(found, np.arange(1001) / 1000) / len(found)
    assert np.abs(below - expected).max() < (0.003 if views == 1 else 1.95 / 8192**0.5 + 0.002)


@pytest.mark.parametrize(
    ("name", "square"), [("uniform", 1 / 3), ("rising", 0.5), ("falling", 1 / 6)]
)
def test_a_law_s_second_moment_is_that_of_its_density(name: str, square: float) -> None:
    """∫ t² dt, ∫ 2t · t² dt and ∫ 2(1 − t) · t² dt."""
    assert times(Stream("a", law=LAWS[name])).square().mean().item() == pytest.approx(
        square, abs=1e-3
    )


def test_a_law_holds_within_the_range_of_a_stream() -> None:
    found = times(Stream("a", law=rising, earliest=0.2, latest=0.6))
    assert found.min() >= 0.2 and found.max() < 0.6
    # A rising density's mean lies at two thirds.
    assert found.mean().item() == pytest.approx(0.2 + 0.4 * 2 / 3, abs=1e-3)


def test_times_that_are_all_alike_are_what_they_were_bit_for_bit() -> None:
    found = times(Stream("a"))
    start = generator(0, "time/a").random()
    shares = (start + (5**0.5 - 1) / 2 * np.arange(COUNT)) % 1.0
    np.testing.assert_array_equal(found.numpy(), shares.astype(np.float32))


def middle(shares: NDArray[np.floating]) -> NDArray[np.floating]:
    """A law that another package may bring: all times in the middle."""
    return 0.5 + 0 * shares


def test_a_term_without_a_law_takes_another_s_and_two_laws_contradict_each_other() -> None:
    plain, own = Stream("images"), Stream("images", law=middle)
    assert plain.join(own).law is middle and own.join(plain).law is middle
    assert times(plain.join(own)).unique().tolist() == [0.5]
    with pytest.raises(ValueError, match="two terms ask for different streams named 'images'"):
        own.join(Stream("images", law=rising))


def test_diff_tuning_in_expectation_is_psi_and_xi_times_the_error() -> None:
    """White images (x₀ = 1) and a network that says x̂₀ = 0: the error is w(λ_t) alone.

    On the straight path w = SNR/(1 + SNR) = (1 − t)²/((1 − t)² + t²), and with s = 2t − 1
    ∫ 2t w dt = ¼ ∫ (1 − s²)(1 − s)/(1 + s²) ds over [−1, 1] = (π − 2)/4; since w(t) + w(1 − t) = 1,
    ∫ 2(1 − t) w dt = (6 − π)/4.
    """
    prior = Prior(weight=0.1, weighting="p2", times="falling", share=0.2)
    choices = Choices(
        start="base",
        adaptation=Full(),
        objective=(Denoising(weighting="p2", times="rising"), prior),
    )
    network = PatchTransformer(4, 1, patch=2, width=16, depth=1, heads=2)
    own = make_objective(choices, NetworkDenoiser(network, SCHEDULES["flow"], "x0"))
    streams = own.streams(0.0)
    drawn = {stream.source: source() for stream in streams if stream.source}
    sources = Sources(source(), drawn)
    with torch.no_grad():
        found = own({s.name: sources.batch(s, 0, COUNT) for s in streams}, 0.0)
    means = {name: losses.mean().item() for name, losses in found.items()}
    expected = {"denoising": (math.pi - 2) / 4, "prior": (6 - math.pi) / 4}
    assert means == pytest.approx(expected, abs=1e-3)
    assert own.weights(0.0) == {"denoising": 1.0, "prior": 0.1}


def test_the_card_keeps_low_noise_and_relearns_high_noise() -> None:
    """The authors' ratio and weight of the bank, 0.2 and 0.1."""
    choices = choices_of(catalogue()["diff-tuning"])
    network = PatchTransformer(4, 1, patch=2, width=16, depth=1, heads=2)
    own = make_objective(choices, NetworkDenoiser(network, SCHEDULES["cosine"], "v"))
    target, bank = own.streams(0.0)
    assert (target.source, target.law) == (None, rising)
    assert bank.source is not None and (bank.law, bank.share) == (falling, 0.2)
    assert own.weights(0.0)["prior"] == 0.1


@pytest.mark.parametrize("choice", [Denoising(), Prior()])
def test_settings_that_were_there_before_are_written_as_they_were(
    choice: Denoising | Prior,
) -> None:
    assert "times" not in choice.model_dump() and "times" not in choice.model_dump(mode="json")
    changed = choice.model_copy(update={"times": "rising"})
    assert changed.model_dump()["times"] == "rising"
    assert "2t" in changed.formula().tex and "2t" not in choice.formula().tex
    for lang in ("ja", "en"):
        assert changed.sentence(lang) != choice.sentence(lang)
