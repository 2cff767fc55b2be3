"""How an adapter's tensors fit a base, and those that are read as a whole: Kurabe's own files,
whose header says what they are, and folders of PEFT's other tuners.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn

from kurabe import registry
from kurabe.adaptations import attach
from kurabe.errors import UserError
from kurabe.exports.plain import ADAPTATION
from kurabe.randomness import generator

SEEDS = range(4)
_LONGEST = 100


@dataclass
class Fit:
    """What was found: names of the tensors that fit, those that do not with the reason, and the
    mean and largest change of a value of the drawn images, in grey levels."""

    fits: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    mean: float = 0.0
    largest: int = 0

    @property
    def tensors(self) -> int:
        return len(self.fits) + len(self.lost)

    @property
    def images(self) -> int:
        """How many images were drawn with it and without."""
        return len(SEEDS)

    @property
    def said(self) -> dict[str, str]:
        """What its header says of it, each in one line of at most 100 characters."""
        lines = {key: " ".join(text.split()) for key, text in self.metadata.items()}
        short = {k: v if len(v) <= _LONGEST else v[:_LONGEST] + " …" for k, v in lines.items()}
        return {key: text for key, text in sorted(short.items()) if key != "format"}

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        change = {"images": self.images, "mean": self.mean, "largest": self.largest}
        return {
            "tensors": self.tensors,
            "fits": sorted(self.fits),
            "lost": self.lost,
            "change": change,
            "metadata": self.metadata,
        }

    def take(self, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keep account of tensors that are to take the place of a network's own; those that fit."""
        for name, tensor in tensors.items():
            if name not in own:
                self.lost[name] = "the base has no place of that name for it"
            elif own[name].shape != tensor.shape:
                shapes = (" × ".join(map(str, of.shape)) for of in (tensor, own[name]))
                self.lost[name] = "it is {}, its place in the base {}".format(*shapes)
            else:
                self.fits.append(name)
        return {name: tensors[name] for name in self.fits}


def adapted_as_here(tensors: Mapping[str, Tensor], backbone: nn.Module, found: Fit) -> None:
    """Adapt a network as a file's header says, and take over what fits."""
    said = found.metadata
    try:
        settings = json.loads(said[ADAPTATION])
        idea = registry.look_up("adaptations", settings["kind"])
        choice = cast(Any, idea.settings).model_validate(settings)
        seed, initialisation = (int(said[f"kurabe.{k}"]) for k in ("seed", "initialisation"))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"The file's header says nothing that can be read ({error}).") from None
    # As `kurabe.training.model.random_weights` draws what an adaptation freezes.
    with torch.random.fork_rng(devices=[]):
        drawn = generator(seed, "initialisation", initialisation)
        torch.manual_seed(int(drawn.integers(2**62)))
        adaptation = attach(backbone, choice)
    own = adaptation.state()
    for name, tensor in found.take(tensors, own).items():
        own[name].data.copy_(tensor)


def adapted_by_peft(
    tensors: Mapping[str, Tensor], network: nn.Module, found: Fit, folder: Path
) -> None:
    """Adapt a network by PEFT, and take over what fits."""
    try:
        config = PeftConfig.from_pretrained(str(folder))
        adapted = PeftModel(cast(Any, network), config)
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"PEFT cannot adapt this base as {folder} says: {said}.") from None
    fits = found.take(tensors, get_peft_model_state_dict(adapted))
    set_peft_model_state_dict(adapted, fits)
