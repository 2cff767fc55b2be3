"""A diffusers scheduler_config.json, read: the schedule of a base and what its output means.

A configuration holds what its writer changed and, in most versions, all defaults; what it leaves
out has diffusers' default. No torch here.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kurabe.errors import UserError

# Of schedulers of one family each reads the other's configuration.
_CHAINS = (
    "DDPMScheduler", "DDIMScheduler", "DDIMParallelScheduler", "DDPMParallelScheduler",
    "PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler", "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler", "DPMSolverSDEScheduler", "DEISMultistepScheduler",
    "UniPCMultistepScheduler", "LCMScheduler",
)  # fmt: skip
_FLOWS = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
_CURVES: dict[str, Literal["linear", "scaled-linear", "squared-cosine", "sigmoid"]] = {
    "linear": "linear",
    "scaled_linear": "scaled-linear",
    "squaredcos_cap_v2": "squared-cosine",
    "sigmoid": "sigmoid",
}
_MEANINGS = {
    "epsilon": "eps",
    "sample": "x0",
    "v_prediction": "v",
    "flow_prediction": "flow",
}
_SPACINGS = ("leading", "trailing", "linspace")


class Scheduler(BaseModel):
    """What a base's scheduler says: the schedule, what is predicted, and its own way of sampling.

    Attributes:
        kind: "betas", a chain of `steps` factors 1 − β, or "flow", the straight path.
        curve, first, last, given: how β goes; see `kurabe.diffusion.schedule.Betas`.
        zero_terminal: whether the chain was moved to end in pure noise.
        prediction: what the network's output means.
        spacing, offset, ends_clean, shift: the times that its own sampler visits.
        clip: images are held within ± clip at each step of sampling; None where they are not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["betas", "flow"] = "betas"
    steps: Annotated[int, Field(ge=1, le=10**6)] = 1000
    curve: Literal["linear", "scaled-linear", "squared-cosine", "sigmoid", "given"] = "linear"
    first: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    last: Annotated[float, Field(gt=0, lt=1)] = 0.02
    given: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    zero_terminal: bool = False
    prediction: Literal["eps", "x0", "v", "flow"] = "eps"
    spacing: Literal["leading", "trailing", "linspace"] = "leading"
    offset: Annotated[int, Field(ge=0)] = 0
    ends_clean: bool = True
    shift: Annotated[float, Field(gt=0)] = 1.0
    clip: Annotated[float, Field(gt=0)] | None = None


def read_scheduler(config: dict[str, Any], source: str) -> Scheduler:
    """The scheduler of a configuration; UserError, naming `source`, for one that is not known."""
    name = config.get("_class_name")
    try:
        if name in _FLOWS:
            return _flow(config)
        if name in _CHAINS:
            return _chain(config, str(name))
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        said = f"{field} = {problem['input']!r}: {problem['msg']}"
        raise UserError(f"{source}: {said}.") from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{source}: {error}.") from None
    known = "a chain of betas (DDPM, DDIM, PNDM, Euler, DPM-Solver and the like) or a flow"
    raise UserError(f"{source}: the scheduler {name} is not {known}; its base cannot be used.")


def _chain(config: dict[str, Any], name: str) -> Scheduler:
    trained = config.get("trained_betas")
    curve = config.get("beta_schedule", "linear")
    if trained is None and curve not in _CURVES:
        raise ValueError(f"beta_schedule = '{curve}' is none of {', '.join(_CURVES)}")
    if config.get("thresholding"):
        raise ValueError("thresholding = true is not followed; set it to false and use clip_sample")
    clips = config.get("clip_sample", name in ("DDPMScheduler", "DDIMScheduler"))
    return Scheduler(
        steps=len(trained) if trained is not None else config.get("num_train_timesteps", 1000),
        curve="given" if trained is not None else _CURVES[curve],
        first=config.get("beta_start", 1e-4),
        last=config.get("beta_end", 0.02),
        given=tuple(trained or ()),
        zero_terminal=config.get("rescale_betas_zero_snr", False),
        prediction=_meaning(config, "epsilon"),
        spacing=_one_of(config, "timestep_spacing", "leading"),
        offset=config.get("steps_offset", 0),
        # Euler's last step ends in the clean image, whatever a configuration that was DDIM's says.
        ends_clean=name == "EulerDiscreteScheduler" or config.get("set_alpha_to_one", True),
        clip=config.get("clip_sample_range", 1.0) if clips else None,
    )


def _flow(config: dict[str, Any]) -> Scheduler:
    for setting in ("use_dynamic_shifting", "invert_sigmas"):
        if config.get(setting):
            raise ValueError(f"{setting} = true is not followed; use a base with a fixed shift")
    return Scheduler(
        kind="flow",
        steps=config.get("num_train_timesteps", 1000),
        shift=config.get("shift", 1.0),
        prediction=_meaning(config, "flow_prediction"),
    )


def _meaning(config: dict[str, Any], default: str) -> Any:
    given = config.get("prediction_type", default)
    if given not in _MEANINGS:
        raise ValueError(f"prediction_type = '{given}' is none of {', '.join(_MEANINGS)}")
    return _MEANINGS[given]


def _one_of(config: dict[str, Any], key: str, default: str) -> Any:
    given = config.get(key, default)
    if given not in _SPACINGS:
        raise ValueError(f"{key} = '{given}' is none of {', '.join(_SPACINGS)}")
    return given
