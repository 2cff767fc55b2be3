"""Guidance on Gaussians, where it has closed forms."""

import pytest
import torch
from diffusion_oracles import SOLVERS, at, gaussian, pointwise
from torch.distributions import Normal

from kurabe.diffusion import (
    SCHEDULES,
    ClassifierFree,
    Denoiser,
    DomainGuidance,
    GaussianDenoiser,
    time_grid,
)
from kurabe.errors import UserError

EVERY = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
WEIGHTS = pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 1.5, 4.0])


class PerClass(Denoiser):
    """Class k is N(means[k], Σ), each image with its own class; the last stands for none."""

    def __init__(self, means: torch.Tensor, covariance: torch.Tensor, schedule) -> None:
        super().__init__()
        self.schedule = schedule
        self.classes = torch.nn.ModuleList(GaussianDenoiser(m, covariance, schedule) for m in means)

    def forward(self, x_t, t, condition=None):
        rows = [
            self.classes[k](x[None], time[None])
            for x, time, k in zip(x_t, t, condition.tolist(), strict=True)
        ]
        return torch.cat(rows)


@EVERY
@WEIGHTS
@pytest.mark.parametrize("solver", ["ddim", "heun", "dpmpp-2m"])
def test_classifier_free_guidance_of_equal_covariances_moves_the_mean(schedule, weight, solver):
    """E[x₀|x_t] is affine in μ, so guidance is the Gaussian of mean μ₀ + w (μ_k − μ₀)."""
    shared = gaussian(schedule, [0.5, 0.1, 0.02])
    covariance = shared.axes @ torch.diag(shared.variances) @ shared.axes.T
    means = torch.tensor([[0.3, 0, -0.2], [-0.5, 0.1, 0], [0.1, 0.1, 0.1]], dtype=torch.float64)
    guided = ClassifierFree(PerClass(means, covariance, schedule), weight, torch.tensor(2))
    x, condition = torch.randn(2, 3, dtype=torch.float64), torch.tensor([0, 1])
    times = time_grid(schedule, 5)
    found = SOLVERS[solver](guided, x, times, condition)
    for row, k in enumerate(condition.tolist()):
        mean = means[2] + weight * (means[k] - means[2])
        moved = GaussianDenoiser(mean, covariance, schedule)
        expected = SOLVERS[solver](moved, x[row : row + 1], times)
        torch.testing.assert_close(found[row : row + 1], expected, rtol=0, atol=1e-9)


@EVERY
@WEIGHTS
@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_domain_guidance_mixes_the_scores(schedule, weight, t):
    """(α D − x)/σ² = w ∇log p_tuned + (1 − w) ∇log p_base, the scores by automatic derivative."""
    tuned, base = gaussian(schedule, [0.2], mean=-0.4), gaussian(schedule, [0.9], mean=0.1)
    alpha, sigma = at(schedule, t)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None].requires_grad_()

    def score(model):
        width = torch.sqrt(alpha**2 * model.variances + sigma**2)
        density = Normal(alpha * model.mean, width).log_prob(x)
        return torch.autograd.grad(density.sum(), x)[0]

    time = torch.full((9,), t, dtype=torch.float64)
    with torch.no_grad():
        found = (alpha * DomainGuidance(tuned, base, weight)(x, time) - x) / sigma**2
    expected = weight * score(tuned) + (1 - weight) * score(base)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_weight_one_is_the_strong_model_bit_for_bit():
    schedule = SCHEDULES["cosine"]
    tuned, base = pointwise(schedule, "v"), pointwise(schedule, "eps")
    x, t = torch.randn(16, 3, 4, 4), torch.linspace(0.01, 0.99, 16)
    with torch.no_grad():
        assert torch.equal(DomainGuidance(tuned, base, 1.0)(x, t), tuned(x, t))
        assert torch.equal(DomainGuidance(tuned, base, 0.0)(x, t), base(x, t))


def test_passes_count_every_network_call():
    schedule = SCHEDULES["flow"]
    tuned, base = pointwise(schedule, "flow"), pointwise(schedule, "flow")
    guided = DomainGuidance(ClassifierFree(tuned, 2.0, torch.tensor(0)), base, 1.5)
    guided(torch.randn(2, 3), torch.tensor([0.2, 0.8]), torch.tensor([1, 1]))
    assert guided.passes == 3 == tuned.backbone.calls + base.backbone.calls


def test_domain_guidance_needs_one_schedule():
    with pytest.raises(UserError, match=r"cosine for the tuned model and flow for its base"):
        DomainGuidance(pointwise(SCHEDULES["cosine"], "v"), pointwise(SCHEDULES["flow"], "v"), 2.0)
