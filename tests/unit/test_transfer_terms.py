"""Terms of few-shot transfer against formulas written out anew: distances kept, guided targets."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from kurabe.adaptations.full import Full
from kurabe.backbones import PatchTransformer
from kurabe.diffusion import SCHEDULES, NetworkDenoiser
from kurabe.methods import catalogue
from kurabe.methods.choices import Choices
from kurabe.objectives.denoising import Denoising
from kurabe.objectives.dogfit import DogFit
from kurabe.objectives.objective import Objective, make_objective
from kurabe.objectives.pairwise import Pairwise
from kurabe.objectives.pairwise.term import high_frequencies, log_likeness, moved
from kurabe.objectives.prior import Prior
from kurabe.objectives.term import LAWS, Batch

B = 8


def network(seed: int) -> PatchTransformer:
    torch.manual_seed(seed)
    made = PatchTransformer(8, 1, patch=4, width=16, depth=1, heads=2, decoder=0)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


def denoiser(seed: int) -> NetworkDenoiser:
    return NetworkDenoiser(network(seed), SCHEDULES["cosine"], "v")


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    images, noise = (torch.randn(B, 1, 8, 8, generator=generator) for _ in range(2))
    return Batch(images.clamp(-1, 1), noise, torch.linspace(0.1, 0.9, B))


def made(*terms: Denoising | DogFit | Pairwise) -> Objective:
    """Three different networks: what trains, the base and the average."""
    choices = Choices(start="base", adaptation=Full(), objective=terms)
    objective = make_objective(choices, denoiser(0))
    objective.references = {"base": denoiser(1), "teacher": denoiser(2)}
    return objective


def kl(tuned: Tensor, base: Tensor, i: int) -> float:
    """KL of the softmaxes of image i's cosines with the others, one by one in double precision."""

    def shares(of: Tensor) -> list[float]:
        rows = [row.flatten().double() for row in of]
        cosine = [float(rows[i] @ rows[j] / (rows[i].norm() * rows[j].norm())) for j in range(B)]
        powers = [math.exp(c) for j, c in enumerate(cosine) if j != i]
        return [p / sum(powers) for p in powers]

    return sum(p * math.log(p / q) for p, q in zip(shares(tuned), shares(base), strict=True))


def haar(images: Tensor) -> Tensor:
    """LH + HL + HH by the outer products of L = (1, 1)/√2 and H = (−1, 1)/√2."""
    low, high = torch.tensor([1.0, 1.0]) / 2**0.5, torch.tensor([-1.0, 1.0]) / 2**0.5
    kernels = [high.outer(low), low.outer(high), high.outer(high)]
    bands = [torch.nn.functional.conv2d(images, k[None, None], stride=2) for k in kernels]
    return sum(bands[1:], bands[0])


def test_high_frequencies_are_the_three_finer_parts_of_a_haar_transform() -> None:
    images = torch.randn(3, 1, 8, 6)
    torch.testing.assert_close(high_frequencies(images), haar(images))
    assert high_frequencies(torch.ones(1, 2, 7, 5)).abs().max() == 0


def test_the_pairwise_term_is_the_papers_on_what_both_networks_predict() -> None:
    choice = Pairwise(high=0.7, detail=0.3, comparison_batch=B)
    objective, given = made(Denoising(), choice), batch()
    found = objective({"images": given}, 0.0)["pairwise"]
    x_t = objective.denoiser.noisy(given.images, given.noise, given.t)
    tuned, base = (of(x_t, given.t).detach() for of in (objective.denoiser, denoiser(1)))
    for i in range(B):
        error = (haar(tuned) - haar(given.images))[i].square().mean().item()
        expected = kl(tuned, base, i) + 0.7 * kl(haar(tuned), haar(base), i) + 0.3 * error
        assert found[i].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_nothing_moves_where_the_tuned_network_is_the_base() -> None:
    images = torch.randn(B, 1, 8, 8)
    assert moved(images, images, B).abs().max() == 0
    # Lengths do not count, only directions.
    assert moved(3 * images, images, B).abs().max() < 1e-6


def test_comparison_batches_are_apart() -> None:
    images, base = torch.randn(B, 4), torch.randn(B, 4)
    halves = torch.cat([moved(images[:4], base[:4], 4), moved(images[4:], base[4:], 4)])
    torch.testing.assert_close(moved(images, base, 4), halves)
    assert log_likeness(images[None]).shape == (1, B, B - 1)


@pytest.mark.parametrize(("strength", "cut_off"), [(1.0, 1.0), (2.5, 1.0), (2.5, 0.5)])
def test_dogfit_is_denoising_towards_the_guided_target(strength: float, cut_off: float) -> None:
    """y′ = y + (w − 1)(ŷ_EMA − ŷ_base), as the authors' training_losses adds it."""
    objective, given = made(DogFit(strength=strength, cut_off=cut_off)), batch()
    found = objective({"images": given}, 0.0)["dogfit"]
    alpha, sigma = (c.view(-1, 1, 1, 1) for c in SCHEDULES["cosine"](given.t))
    x_t = alpha * given.images + sigma * given.noise
    predicted = [of.predict(x_t, given.t).prediction for of in (denoiser(k) for k in range(3))]
    guided = torch.where(given.t.view(-1, 1, 1, 1) < cut_off, strength - 1, 0.0)
    target = alpha * given.noise - sigma * given.images + guided * (predicted[2] - predicted[1])
    # Weighted as "v" the plain error of v itself.
    expected = (predicted[0] - target).square().flatten(1).mean(1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_dogfit_s_target_draws_what_domain_guidance_draws() -> None:
    """Where the average predicts as the data does, the target is D_base + w (D_tuned − D_base)."""
    objective, given = made(DogFit(strength=3)), batch()
    own = objective.denoiser
    x_t = own.noisy(given.images, given.noise, given.t)
    passes = objective._passes({"images": given}, 0.0)
    tuned, base = (denoiser(k).predict(x_t, given.t).prediction for k in (2, 1))
    moved_to = own.to_x0(tuned + objective.terms["dogfit"].offset(passes["images"]), x_t, given.t)
    of_base, of_tuned = (own.to_x0(y, x_t, given.t) for y in (base, tuned))
    expected = of_base + 3 * (of_tuned - of_base)
    torch.testing.assert_close(moved_to, expected, rtol=1e-4, atol=1e-4)


def test_gradients_stop_at_the_base_and_the_average() -> None:
    objective = made(DogFit(strength=2))
    objective({"images": batch()}, 0.0)["dogfit"].sum().backward()
    for reference in objective.references.values():
        assert all(p.grad is None for p in reference.parameters())


def test_two_terms_that_denoise_or_none_are_refused() -> None:
    with pytest.raises(ValidationError, match="one term denoises, not denoising and dogfit"):
        Choices(start="base", adaptation=Full(), objective=(Denoising(), DogFit()))
    with pytest.raises(ValidationError, match="needs a base"):
        Choices(start="random", adaptation=Full(), objective=(DogFit(),))
    with pytest.raises(ValidationError, match="needs the denoising term"):
        Choices(start="base", adaptation=Full(), objective=(Pairwise(),))


def test_the_chain_of_forgetting_is_its_papers() -> None:
    """Target times ∝ t, the bank's ∝ 1 − t; ratio 0.2 and weight 0.1 of section 4.1's settings.

    Means of densities 2t and 2(1 − t) on [0, 1] are 2/3 and 1/3.
    """
    choices = catalogue()["diff-tuning"].choices
    assert choices is not None
    terms = {term.term: term for term in choices.objective}
    prior, denoising = terms["prior"], terms["denoising"]
    assert isinstance(prior, Prior) and isinstance(denoising, Denoising)
    assert (prior.weight, prior.share) == (0.1, 0.2)
    shares = (torch.arange(1000, dtype=torch.float64).numpy() + 0.5) / 1000
    assert LAWS[denoising.times](shares).mean() == pytest.approx(2 / 3, abs=1e-4)
    assert LAWS[prior.times](shares).mean() == pytest.approx(1 / 3, abs=1e-4)


def test_dreambooth_s_prior_has_the_paper_s_weight_and_half_of_what_passes() -> None:
    choices = catalogue()["dreambooth"].choices
    assert choices is not None
    prior = next(term for term in choices.objective if isinstance(term, Prior))
    assert (prior.weight, prior.share, prior.times) == (1.0, 0.5, "uniform")
