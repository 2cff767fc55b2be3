"""Schedules read from diffusers' schedulers, against the schedulers themselves."""

import json

import diffusers
import pytest
import torch

from kurabe.bases.scheduler import read_scheduler
from kurabe.diffusion.schedule import Betas, RectifiedFlow
from kurabe.errors import UserError
from kurabe.training.diffusers_parts import schedule_of

CHAINS = {
    "linear": {},
    "stable diffusion": {
        "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
        "set_alpha_to_one": False, "steps_offset": 1, "clip_sample": False,
    },
    "cosine": {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 400},
    "zero terminal": {
        "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
        "prediction_type": "v_prediction",
    },
    "given": {"trained_betas": [0.01, 0.02, 0.3, 0.4]},
}  # fmt: skip


def written(scheduler: diffusers.SchedulerMixin, folder) -> dict:
    """The configuration as the scheduler itself writes it."""
    scheduler.save_pretrained(folder)
    return json.loads((folder / "scheduler_config.json").read_text())


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_is_its_scheduler_s(name, tmp_path):
    """ᾱ at every timestep, diffusers' in float32, so to five digits or to 10⁻⁷."""
    theirs = diffusers.DDIMScheduler(**CHAINS[name])
    schedule = schedule_of(read_scheduler(written(theirs, tmp_path), "x"))
    steps = len(theirs.alphas_cumprod)
    times = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    alpha, sigma = schedule(times)
    torch.testing.assert_close(alpha.square(), theirs.alphas_cumprod.double(), rtol=5e-5, atol=1e-7)
    torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones_like(alpha))


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [1, 7, 20, 50])
def test_own_times_are_its_scheduler_s_timesteps(spacing, steps, tmp_path):
    theirs = diffusers.DDIMScheduler(timestep_spacing=spacing)
    schedule = schedule_of(read_scheduler(written(theirs, tmp_path), "x"))
    theirs.set_timesteps(steps)
    own = schedule.own_times(steps)
    assert (own[:-1] * 1000 - 1).round().long().tolist() == theirs.timesteps.tolist()
    assert own[-1] == 0


def test_stable_diffusion_begins_one_step_late_and_ends_at_the_first_factor(tmp_path):
    theirs = diffusers.DDIMScheduler(**CHAINS["stable diffusion"])
    schedule = schedule_of(read_scheduler(written(theirs, tmp_path), "x"))
    theirs.set_timesteps(10)
    own = schedule.own_times(10)
    assert (own[:-1] * 1000 - 1).round().long().tolist() == theirs.timesteps.tolist()
    alpha, _ = schedule(own[-1:])
    assert alpha.square().item() == pytest.approx(theirs.final_alpha_cumprod.item(), rel=1e-6)


def test_zero_terminal_snr_ends_in_pure_noise_and_has_an_inverse():
    schedule = Betas(zero_terminal=True)
    alpha, sigma = schedule(torch.tensor([0.0, 1.0]))
    assert alpha.tolist() == [1.0, 0.0] and sigma.tolist() == [0.0, 1.0]
    t = torch.tensor([1e-3, 0.3, 0.9985, 0.9995, 0.99999], dtype=torch.float64)
    torch.testing.assert_close(schedule.time_of_log_snr(schedule.log_snr(t)), t)
    falling = schedule.log_snr(torch.linspace(0, 1, 5001, dtype=torch.float64))[1:].diff()
    assert (falling < 0).all()
    assert schedule.time_of_log_snr(torch.tensor(-200.0)) == 1


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_times_are_its_scheduler_s(shift, tmp_path):
    theirs = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler = read_scheduler(written(theirs, tmp_path), "x")
    schedule = schedule_of(scheduler)
    theirs.set_timesteps(9)
    assert isinstance(schedule, RectifiedFlow) and scheduler.prediction == "flow"
    torch.testing.assert_close(schedule.own_times(9).float(), theirs.sigmas, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"_class_name": "KarrasVeScheduler"}, "the scheduler KarrasVeScheduler is not"),
        ({}, "the scheduler None is not"),
        ({"_class_name": "DDPMScheduler", "beta_schedule": "wavy"}, "beta_schedule = 'wavy'"),
        ({"_class_name": "DDPMScheduler", "prediction_type": "w"}, "prediction_type = 'w'"),
        ({"_class_name": "DDPMScheduler", "timestep_spacing": "odd"}, "timestep_spacing = 'odd'"),
        ({"_class_name": "DDPMScheduler", "num_train_timesteps": 0}, "steps = 0"),
        ({"_class_name": "DDPMScheduler", "num_train_timesteps": "many"}, "steps = 'many'"),
        ({"_class_name": "DDIMScheduler", "trained_betas": [0.1, 2]}, "given.1 = 2"),
        ({"_class_name": "DDIMScheduler", "thresholding": True}, "thresholding = true"),
    ],
)
def test_a_scheduler_that_cannot_be_followed_is_named_in_one_sentence(config, said):
    with pytest.raises(UserError) as raised:
        read_scheduler(config, "scheduler_config.json")
    assert str(raised.value).startswith("scheduler_config.json: ") and said in str(raised.value)
    assert "\n" not in str(raised.value)
