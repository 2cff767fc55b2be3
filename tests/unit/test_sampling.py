"""Samplers against diffusers' schedulers, and against the exact path and law of a Gaussian."""

import math
from itertools import pairwise

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
)
from diffusion_oracles import SOLVERS, at, exact_path, gaussian, pointwise
from hypothesis import given
from hypothesis import strategies as st

from kurabe.diffusion import PREDICTIONS, SCHEDULES, sample, time_grid
from kurabe.diffusion.sampling import (
    evaluations,
    starting_noise,
    step_noise,
    steps_for,
    takes_noise,
)
from kurabe.diffusion.solvers import ddim, ddpm, dpmpp_2m, dpmpp_2m_sde, heun
from kurabe.errors import UserError

EVERY = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
DETERMINISTIC = [name for name in SOLVERS if not takes_noise(name)]
SPACINGS = ("uniform-t", "uniform-log-snr", "karras")
BETAS = {"beta_start": 1e-4, "beta_end": 0.02}
THEIR_NAMES = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
# Ours at t = (i + 1)/1000 is theirs at i; the last step goes to the clean image.
STEPS = [999, 925, 850, 700, 611, 500, 400, 333, 250, 180, 120, 77, 50, 30, 12, 4, 0]
TIMES = torch.tensor([(i + 1) / 1000 for i in STEPS] + [0.0], dtype=torch.float64)


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def test_ddpm_takes_diffusers_steps():
    """Variance type "fixed_small", the same noise."""
    for prediction, name in THEIR_NAMES.items():
        denoiser = pointwise(SCHEDULES["ddpm-linear"], prediction).double()
        theirs = DDPMScheduler(1000, **BETAS, clip_sample=False, prediction_type=name)
        theirs.set_timesteps(timesteps=STEPS)
        x, noise, state = images(2, 5), images(len(STEPS), 2, 5), torch.get_rng_state()
        ours = ddpm(denoiser, x, TIMES, lambda step, noise=noise: noise[step])
        for step, (i, t) in enumerate(zip(STEPS, TIMES, strict=False)):
            y = denoiser.predict(x, t.expand(2)).prediction
            drawn = theirs.step(y, i, x, generator=torch.Generator().manual_seed(step))
            if i > 0:  # put our noise in the place of theirs
                own = torch.randn(
                    2, 5, dtype=x.dtype, generator=torch.Generator().manual_seed(step)
                )
                drawn.prev_sample += theirs._get_variance(i) ** 0.5 * (noise[step] - own)
            x = drawn.prev_sample
        torch.testing.assert_close(ours, x, rtol=0, atol=1e-5)
        assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("prediction", THEIR_NAMES)
def test_ddim_takes_diffusers_steps(prediction):
    denoiser = pointwise(SCHEDULES["ddpm-linear"], prediction).double()
    theirs = DDIMScheduler(
        1000,
        **BETAS,
        clip_sample=False,
        prediction_type=THEIR_NAMES[prediction],
        timestep_spacing="trailing",
    )
    theirs.set_timesteps(20)
    x = images(2, 5)
    ours = ddim(denoiser, x, time_grid(denoiser.schedule, 20))
    for i in theirs.timesteps:
        t = (i + 1).double() / 1000
        x = theirs.step(denoiser.predict(x, t.expand(2)).prediction, i, x).prev_sample
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs
@pytest.mark.parametrize("prediction", THEIR_NAMES)
def test_dpmpp_2m_takes_diffusers_steps(prediction):
    denoiser = pointwise(SCHEDULES["ddpm-linear"], prediction).double()
    theirs = DPMSolverMultistepScheduler(
        1000, **BETAS, prediction_type=THEIR_NAMES[prediction], final_sigmas_type="zero"
    )
    theirs.set_timesteps(timesteps=STEPS)
    x = images(2, 5)
    ours = dpmpp_2m(denoiser, x, TIMES)
    for i, t in zip(theirs.timesteps, TIMES, strict=False):
        x = theirs.step(denoiser.predict(x, t.expand(2)).prediction, i, x).prev_sample
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs
@pytest.mark.parametrize("prediction", THEIR_NAMES)
def test_dpmpp_2m_sde_takes_diffusers_steps(prediction):
    """Their algorithm "sde-dpmsolver++", given our noise."""
    denoiser = pointwise(SCHEDULES["ddpm-linear"], prediction).double()
    theirs = DPMSolverMultistepScheduler(
        1000,
        **BETAS,
        algorithm_type="sde-dpmsolver++",
        prediction_type=THEIR_NAMES[prediction],
        final_sigmas_type="zero",
    )
    theirs.set_timesteps(timesteps=STEPS)
    x, noise = images(2, 5), images(len(STEPS), 2, 5)
    ours = dpmpp_2m_sde(denoiser, x, TIMES, lambda step: noise[step])
    for step, (i, t) in enumerate(zip(theirs.timesteps, TIMES, strict=False)):
        y = denoiser.predict(x, t.expand(2)).prediction
        x = theirs.step(y, i, x, variance_noise=noise[step]).prev_sample
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-5)


def test_ddim_and_heun_on_the_flow_take_diffusers_euler_and_heun_steps():
    denoiser = pointwise(SCHEDULES["flow"], "flow")
    for solver, theirs in (
        (ddim, FlowMatchEulerDiscreteScheduler(1000)),
        (heun, FlowMatchHeunDiscreteScheduler(1000)),
    ):
        theirs.set_timesteps(12)
        x = images(2, 5).float()
        times = torch.cat([theirs.timesteps.unique().flip(0) / 1000, torch.zeros(1)])
        ours = solver(denoiser, x, times.double())
        for t in theirs.timesteps:
            y = denoiser.predict(x, (t / 1000).expand(2)).prediction
            x = theirs.step(y, t, x).prev_sample
        torch.testing.assert_close(ours, x, rtol=0, atol=1e-5)


@EVERY
@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("heun", 2), ("dpmpp-2m", 2)])
def test_order_of_convergence(schedule, name, order):
    """Halving the steps in log-SNR, away from the ends, divides the error by 2^order."""
    denoiser = gaussian(schedule, [2.0, 0.5, 0.1, 0.0])
    x, errors = images(8, 4), []
    for steps in (40, 80, 160):
        levels = torch.linspace(-6, 4, steps + 1, dtype=torch.float64)
        times = schedule.time_of_log_snr(levels)
        exact = exact_path(denoiser, x, times[0].item(), times[-1].item())
        errors.append((SOLVERS[name](denoiser, x, times) - exact).abs().max().item())
    orders = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert orders == pytest.approx([order, order], abs=0.15)


@EVERY
@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_mean_and_covariance_of_the_samples(schedule, name, spacing):
    """From t = 1 to 0 on a Gaussian the sampler is affine, x ↦ A x + b: its law is exact.

    Noise N(0, σ(1)² I) becomes N(b, σ(1)² A Aᵀ), to be N(μ, Σ). The exact path starts at
    N(α(1) μ, α(1)² Σ + σ(1)² I), which differs by 10⁻⁴ where α(1) > 0.
    """
    denoiser = gaussian(schedule, [0.6, 0.2, 0.05, 0.0])
    probes = torch.cat([torch.zeros(1, 4), torch.eye(4)]).double()
    steps = 400 if name == "ddim" else 100
    out = SOLVERS[name](denoiser, probes, time_grid(schedule, steps, spacing))
    offset, matrix = out[0], (out[1:] - out[0]).T
    covariance = denoiser.axes @ torch.diag(denoiser.variances) @ denoiser.axes.T
    torch.testing.assert_close(offset, denoiser.mean, rtol=0, atol=6e-3)
    torch.testing.assert_close(matrix @ matrix.T, covariance, rtol=0, atol=1e-2)


def law(solver, denoiser, times) -> tuple[float, list[float]]:
    """Mean and, after each step, variance of a solver's samples on one axis, by unit responses.

    Row 0 starts at 0 with no noise, row 1 at 1, row 2 + k meets a 1 as the noise of step k.
    """
    rows = len(times) + 1
    x = torch.zeros(rows, 1, dtype=torch.float64)
    x[1] = at(denoiser.schedule, times[0].item())[1]
    states = []

    def noise(step: int) -> torch.Tensor:
        return torch.eye(rows, dtype=torch.float64)[:, 2 + step : 3 + step]

    out = solver(denoiser, x, times, noise, callback=lambda step, t, x, x0: states.append(x))
    spread = [(state[1:] - state[0]).square().sum().item() for state in [*states, out]]
    return out[0].item(), spread


@EVERY
def test_ddpm_on_a_single_image_keeps_the_forward_variance_at_every_step(schedule):
    """Where the data has no variance β̃ is exact (Ho et al. 2020, section 3.2): Var x_t = σ_t²."""
    denoiser = gaussian(schedule, [0.0])
    times = time_grid(schedule, 7, "karras")
    mean, spread = law(ddpm, denoiser, times)
    expected = schedule(times)[1].square().tolist()
    assert spread == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert mean == pytest.approx(denoiser.mean.item(), abs=1e-9)


def test_ddpm_variance_is_the_published_chain():
    """Ho et al. 2020, algorithm 2 on unit-variance data: a recursion in its own β, α, ᾱ.

    ε̂ = √(1 − ᾱ) x_t, so x_{t−1} = (1 − β) x_t / √α + √β̃ z, and z is left out at t = 1.
    """
    denoiser = gaussian(SCHEDULES["ddpm-linear"], [1.0], mean=0)
    betas = [1e-4 + (0.02 - 1e-4) * i / 999 for i in range(1000)]
    bars = [1.0]
    for beta in betas:
        bars.append(bars[-1] * (1 - beta))
    variance = 1 - bars[1000]
    expected = [variance]
    for t in range(1000, 0, -1):
        beta = betas[t - 1]
        added = beta * (1 - bars[t - 1]) / (1 - bars[t])
        variance = (1 - beta) * variance + added
        expected.append(variance)
    _, spread = law(ddpm, denoiser, torch.arange(1000, -1, -1).double() / 1000)
    assert spread == pytest.approx(expected, rel=1e-6)
    assert 0.99 < spread[-1] < 1


@pytest.mark.parametrize(("solver", "order"), [(ddpm, 1), (dpmpp_2m_sde, 2)])
def test_variance_approaches_the_exact_one_with_the_order_of_the_solver(solver, order):
    """Halving the steps in log-SNR, away from the ends, divides the gap to α²Σ + σ² by 2^order."""
    denoiser = gaussian(SCHEDULES["cosine"], [0.25])
    gaps = []
    for steps in (80, 160, 320):
        levels = torch.linspace(-6, 4, steps + 1, dtype=torch.float64)
        times = denoiser.schedule.time_of_log_snr(levels)
        alpha, sigma = at(denoiser.schedule, times[-1].item())
        # `law` begins without α²Σ, of which so much noise on the way leaves nothing.
        _, spread = law(solver, denoiser, times)
        gaps.append(abs(alpha**2 * 0.25 + sigma**2 - spread[-1]))
    orders = [math.log2(coarse / fine) for coarse, fine in pairwise(gaps)]
    assert orders == pytest.approx([order, order], abs=0.2)


def test_ddpm_samples_have_the_law_that_its_responses_say():
    denoiser = gaussian(SCHEDULES["cosine"], [0.25])
    times = time_grid(denoiser.schedule, 12)
    mean, spread = law(ddpm, denoiser, times)
    seeds = range(4000)
    noise = step_noise(seeds, (1,), torch.float64)
    out = ddpm(denoiser, starting_noise(seeds, (1,), torch.float64), times, noise)
    deviation = math.sqrt(spread[-1])
    assert out.mean().item() == pytest.approx(mean, abs=4 * deviation / math.sqrt(4000))
    assert out.std().item() == pytest.approx(deviation, rel=4 / math.sqrt(8000))


@EVERY
@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_samples_are_finite_in_float32_for_any_number_of_steps(schedule, name, prediction):
    denoiser = pointwise(schedule, prediction)
    with torch.inference_mode():
        for spacing in SPACINGS:
            for steps in (1, 2, 3, 25):
                times = time_grid(schedule, steps, spacing)
                x = starting_noise([1, 2], (3,))
                extra = {"noise": step_noise([1, 2], (3,))} if takes_noise(name) else {}
                assert SOLVERS[name](denoiser, x, times, **extra).abs().max() < 10


@pytest.mark.parametrize("name", SOLVERS)
def test_how_seeds_are_batched_changes_no_bit(name):
    denoiser = pointwise(SCHEDULES["cosine"], "v")
    seeds = [5, 0, 123456789, 7, 2**40, 11, 3]
    with torch.inference_mode():
        whole = sample(denoiser, seeds, (3, 8, 8), name, steps=6, batch=64)
        for batch in (1, 2, 3):
            assert torch.equal(sample(denoiser, seeds, (3, 8, 8), name, 6, batch), whole)
        backwards = sample(denoiser, seeds[::-1], (3, 8, 8), name, 6)
    assert torch.equal(backwards.flip(0), whole)
    assert len({row.sum().item() for row in whole}) == len(seeds)


@pytest.mark.parametrize("name", SOLVERS)
def test_condition_and_progress_follow_the_batches(name):
    class Mean(type(gaussian(SCHEDULES["flow"], [0.0]))):
        """A point mass at the condition's value: every sampler must land on it."""

        def forward(self, x_t, t, condition=None):
            return condition[:, None].expand_as(x_t)

    denoiser = Mean(torch.zeros(2), torch.zeros(2, 2), SCHEDULES["flow"])
    wanted, done = torch.linspace(-0.8, 0.8, 5), []
    out = sample(denoiser, range(5), (2,), name, 4, 2, condition=wanted, progress=done.append)
    torch.testing.assert_close(out, wanted[:, None].expand(5, 2), rtol=0, atol=1e-6)
    assert done == [2, 4, 5]


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_evaluations_are_counted_right(name, steps):
    denoiser = pointwise(SCHEDULES["flow"], "flow")
    sample(denoiser, [0], (2,), name, steps)
    assert denoiser.backbone.calls == evaluations(name, steps)


@given(name=st.sampled_from(list(SOLVERS)), budget=st.integers(1, 500))
def test_steps_for_spends_a_budget_as_far_as_it_goes(name, budget):
    steps = steps_for(name, budget)
    assert evaluations(name, steps) <= budget < evaluations(name, steps + 1)


@pytest.mark.parametrize("name", SOLVERS)
def test_nothing_waits_for_the_device(name):
    """On the meta device there are no numbers, so a sampler that reads one back would raise."""
    denoiser = pointwise(SCHEDULES["cosine"], "v").to("meta")
    x = torch.empty(4, 3, 32, 32, device="meta")
    extra = {"noise": lambda step: torch.empty_like(x)} if takes_noise(name) else {}
    out = SOLVERS[name](denoiser, x, time_grid(denoiser.schedule, 5), **extra)
    assert out.shape == x.shape


def test_callback_sees_every_step_on_its_way():
    denoiser = gaussian(SCHEDULES["flow"], [0.5, 0.1])
    seen, x = [], images(3, 2)
    times = time_grid(denoiser.schedule, 4)
    ddim(denoiser, x, times, callback=lambda *step: seen.append(step))
    assert [(step, t) for step, t, _, _ in seen] == [(0, 1.0), (1, 0.75), (2, 0.5), (3, 0.25)]
    for _, t, x_t, x0 in seen:
        torch.testing.assert_close(denoiser(x_t, x_t.new_full((3,), t)), x0)


@EVERY
def test_uniform_log_snr_steps_are_even(schedule):
    times = time_grid(schedule, 11, "uniform-log-snr", log_snr=(-8, 8))
    assert (times[0], times[-1]) == (1, 0)
    levels = schedule.log_snr(times[1:-1])
    torch.testing.assert_close(levels, torch.linspace(-6.4, 8, 10, dtype=torch.float64))


@EVERY
def test_karras_steps_are_the_published_sigmas(schedule):
    """Karras et al. 2022, equation 5, ρ = 7, between σ = e⁴ and e⁻⁴ of the signal."""
    times = time_grid(schedule, 9, "karras", log_snr=(-8, 8))
    high, low = math.exp(4), math.exp(-4)
    expected = [
        (high ** (1 / 7) + i / 8 * (low ** (1 / 7) - high ** (1 / 7))) ** 7 for i in range(9)
    ]
    alpha, sigma = schedule(times[1:-1])
    assert (sigma / alpha).tolist() == pytest.approx(expected[1:], rel=1e-9)
    assert (times[0], times[-1]) == (1, 0)


@EVERY
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 30, 1000])
def test_times_fall_from_one_to_zero(schedule, spacing, steps):
    times = time_grid(schedule, steps, spacing)
    assert len(times) == steps + 1
    assert (times[0], times[-1]) == (1, 0)
    assert (times.diff() < 0).all()


def test_bad_settings_are_named():
    flow = SCHEDULES["flow"]
    with pytest.raises(UserError, match="at least 1 step, not 0"):
        time_grid(flow, 0)
    with pytest.raises(UserError, match=r"'log'.*uniform-log-snr"):
        time_grid(flow, 5, "log")
    with pytest.raises(UserError, match=r"'euler'.*ddim"):
        sample(pointwise(flow, "flow"), [0], (2,), "euler")
