"""Frozen networks that terms read: the untouched base, and a teacher that follows the training.

The teacher's weights are the exponential moving average that is measured and kept anyway (Tarvainen
& Valpola 2017, "Mean teachers are better role models"): not a copy of it but the same tensors, so
that it is as new as the last update, and is resumed with it.
"""

import copy
from collections.abc import Callable

from kurabe.diffusion import NetworkDenoiser
from kurabe.objectives.objective import Objective
from kurabe.training.ema import EMA


def refer(objective: Objective, ema: EMA) -> None:
    """Give an objective, whose network no update has changed yet, what its terms read.

    ValueError where a term names a reference that there is not.
    """
    for name in {name for term in objective.terms.values() for name in term.references}:
        if name not in _MADE:
            raise ValueError(f"there is no reference {name}; there are {', '.join(_MADE)}")
        objective.references[name] = _MADE[name](objective.denoiser, ema)


def _base(denoiser: NetworkDenoiser, ema: EMA) -> NetworkDenoiser:
    return copy.deepcopy(denoiser).requires_grad_(False).eval()


def _teacher(denoiser: NetworkDenoiser, ema: EMA) -> NetworkDenoiser:
    teacher = _base(denoiser, ema)
    own = teacher.backbone.state_dict(keep_vars=True)
    for name, average in ema.average.items():
        own[name].data = average
    return teacher


_MADE: dict[str, Callable[[NetworkDenoiser, EMA], NetworkDenoiser]] = {
    "base": _base,
    "teacher": _teacher,
}
