"""A tuner of PEFT on a network's linear layers: PEFT's own layers, and its own names of tensors.

What it holds beside what trains, random projections say, is a function of its options' seeds or of
torch's generator while it attaches, so that it is there again when a run is loaded.
"""

import dataclasses
import difflib
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from torch import nn

from kurabe.adaptations.base import Adaptation
from kurabe.adaptations.low_rank import targets
from kurabe.adaptations.peft_tuners import BEGINS, DIVIDES, Option, PeftTuner
from kurabe.errors import UserError

_ADAPTER = "default"


class Tuned(Adaptation):
    """Adapts the network as PEFT does; UserError where it cannot, or an option is none of it.

    config: PEFT's configuration, of layers by their names here. tuner: PEFT's model of it.
    """

    def __init__(self, network: nn.Module, choice: PeftTuner) -> None:
        super().__init__(network)
        network.requires_grad_(False)
        self.choice, names = choice, targets(network, choice.targets)
        layers = [cast(nn.Linear, network.get_submodule(name)) for name in names]
        config_class, tuner_class = _classes(choice.tuner)
        options = BEGINS[choice.tuner] | _fitting(choice.tuner, layers) | dict(choice.options)
        _check(choice, config_class)
        more = {"feedforward_modules": []} if choice.tuner == "ia3" else {}
        try:
            # Of extensions for other machines, and of what PEFT rounds off by itself.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.config: Any = config_class(target_modules=names, **options, **more)
                self.tuner: Any = tuner_class(network, self.config, _ADAPTER)
        # PEFT says what does not fit by any of these.
        except (ValueError, TypeError, RuntimeError, KeyError, ImportError) as error:
            said = " ".join(str(error).split()).rstrip(".")
            if "memory" in said:
                # Told as such, with what helps.
                raise
            raise UserError(f"{choice.kind} does not fit this network: {said}.") from None

    @contextmanager
    def off(self) -> Iterator[None]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.tuner.disable_adapter_layers()
        try:
            with self._as_fitted_before():
                yield
        finally:
            self.tuner.enable_adapter_layers()

    def merge(self) -> None:
        if not self.choice.merges:
            raise UserError(
                f"{self.choice.kind} changes with what enters a layer, so it cannot be written "
                "into the weights of its base."
            )
        self.tuner.merge_and_unload()


def _classes(tuner: str) -> tuple[Any, Any]:
    """The configuration and the model of a tuner; UserError where this PEFT has none."""
    import peft
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

    known = {kind.value.lower(): kind for kind in PEFT_TYPE_TO_CONFIG_MAPPING}
    if tuner not in known:
        raise UserError(
            f"PEFT {peft.__version__} has no tuner '{tuner}', a later one does: "
            "pip install --upgrade peft."
        )
    kind = known[tuner]
    return PEFT_TYPE_TO_CONFIG_MAPPING[kind], PEFT_TYPE_TO_TUNER_MAPPING[kind]


def _fitting(tuner: str, layers: list[nn.Linear]) -> dict[str, Option]:
    """The size that must divide all of a tuner's layers, the largest up to 64 that does."""
    if tuner not in DIVIDES:
        return {}
    common = math.gcd(*(side for x in layers for side in (x.in_features, x.out_features)))
    return {DIVIDES[tuner]: max(n for n in range(1, 65) if common % n == 0)}


def _check(choice: PeftTuner, config_class: Any) -> None:
    """UserError for an option that the tuner has not, or that would draw at random in a pass."""
    usual = {of.name: of.default for of in dataclasses.fields(config_class)}
    known = list(usual)
    for name, value in choice.options.items():
        if name not in known or name in ("target_modules", "peft_type", "task_type"):
            near = difflib.get_close_matches(name, known, 3, 0.5)
            said = f"did you mean {' or '.join(near)}?" if near else "PEFT's documentation has all."
            raise UserError(f"{choice.kind} has no option '{name}'; {said}")
        number = isinstance(usual[name], int | float) and not isinstance(usual[name], bool)
        if number and isinstance(value, str | bool):
            raise UserError(f"{choice.kind}: {name} is a number, not {value!r}.")
        if "dropout" in name and value:
            raise UserError(
                f"{choice.kind}: {name} draws at random by a generator that no seed of a run "
                "reaches, so that a run could not be repeated; leave it out."
            )
