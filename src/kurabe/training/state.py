"""The state to resume from: one safetensors file, replaced whole.

A process killed at any instant finds the state before or the state after, never a mixture. What
is read back is copied into tensors that were made as at the start of a run, so that the alignment
of memory, and with it the last bit of a sum, does not depend on having been interrupted.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from kurabe.errors import UserError
from kurabe.files import write_bytes_atomic
from kurabe.training.ema import EMA
from kurabe.training.model import read_tensors


@dataclass
class Progress:
    """How far a run is. positions: images drawn so far of each stream."""

    images_seen: int = 0
    updates: int = 0
    positions: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    best_loss: float | None = None
    best_at: int = 0
    stale: int = 0


class Training:
    """All that changes while a run trains: weights, optimiser, average, progress, best so far."""

    def __init__(self, module: nn.Module, optimiser: torch.optim.Optimizer, ema: EMA) -> None:
        self.optimiser, self.ema = optimiser, ema
        self.named = {n: p for n, p in module.named_parameters() if p.requires_grad}
        weights = {n for n, _ in module.named_parameters()}
        kept = module.state_dict(keep_vars=True)
        # What was fitted before the first update: elsewhere it may come out otherwise by a bit.
        self.fitted: dict[str, Tensor] = {n: v for n, v in kept.items() if n not in weights}
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}

    def average(self, images_seen: int, batch: int) -> None:
        """Take the weights into the average, at the end of an update of so many images."""
        with self._to_measure():
            self.ema.update(images_seen, batch)

    @contextmanager
    def _to_measure(self) -> Iterator[None]:
        """Inside, weights are those that the optimiser means to be measured."""
        optimiser: Any = self.optimiser
        if not hasattr(optimiser, "eval"):
            yield
            return
        own = {name: parameter.detach().clone() for name, parameter in self.named.items()}
        optimiser.eval()
        yield
        optimiser.train()
        # The optimiser's own way back is off by rounding, and would leave it in what trains.
        with torch.no_grad():
            for name, parameter in self.named.items():
                parameter.copy_(own[name])

    def save(self, path: Path) -> None:
        """Replace the state file."""
        tensors: dict[str, Tensor] = {}
        numbers: dict[str, int | float] = {}
        for name, parameter in self.named.items():
            tensors[f"weight/{name}"] = parameter.detach()
            for key, value in self.optimiser.state[parameter].items():
                place = f"optimiser.{key}/{name}"
                if isinstance(value, Tensor):
                    tensors[place] = value
                # None is as good as nothing.
                elif value is not None:
                    numbers[place] = value
        tensors |= {f"fitted/{name}": value for name, value in self.fitted.items()}
        tensors |= {f"average/{name}": value for name, value in self.ema.average.items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        stored = _apart({name: value.cpu().contiguous() for name, value in tensors.items()})
        groups = [_plain(group) for group in self.optimiser.param_groups]
        note = {"progress": asdict(self.progress), "groups": groups, "numbers": numbers}
        written = {key: json.dumps(value) for key, value in note.items()}
        write_bytes_atomic(path, save(stored, written))

    def load(self, path: Path) -> None:
        """Go back to a stored state; UserError where it belongs to another network."""
        stored = read_tensors(path)
        with safe_open(path, "pt") as file:
            note = file.metadata()
        self.progress = Progress(**json.loads(note["progress"]))
        groups = json.loads(note.get("groups", "[]"))
        # States from earlier versions have none, or two, in which nothing is that is not set anew.
        if len(groups) == len(self.optimiser.param_groups):
            for group, kept in zip(self.optimiser.param_groups, groups, strict=True):
                group.update(kept)
        try:
            self._take(stored)
            for place, number in json.loads(note.get("numbers", "{}")).items():
                key, _, name = place.removeprefix("optimiser.").partition("/")
                self.optimiser.state[self.named[name]][key] = number
        except (KeyError, RuntimeError) as error:
            raise UserError(
                f"{path} belongs to another network ({error}); remove the run's folder."
            ) from None

    @torch.no_grad()
    def _take(self, stored: Mapping[str, Tensor]) -> None:
        for name, parameter in self.named.items():
            parameter.copy_(stored[f"weight/{name}"])
        # A parameter that no pass has used yet has no moments: the mask token, say.
        for place, value in stored.items():
            key, _, name = place.removeprefix("optimiser.").partition("/")
            if place.startswith("optimiser."):
                parameter = self.named[name]
                alike = (value.shape, value.dtype) == (parameter.shape, parameter.dtype)
                like = parameter if alike else value.to(parameter.device)
                self.optimiser.state[parameter][key] = torch.empty_like(like).copy_(value)
        for name, value in self.fitted.items():
            # States from earlier versions have none.
            value.copy_(stored.get(f"fitted/{name}", value))
        for name, value in self.ema.average.items():
            value.copy_(stored[f"average/{name}"])
        self.best = {
            name: torch.empty_like(value).copy_(stored[f"best/{name}"])
            for name, value in self.ema.average.items()
            if f"best/{name}" in stored
        }


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, none in the memory of another, which the format refuses: an optimiser may keep
    one table for all parameters."""
    taken: set[int] = set()
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        place = value.untyped_storage().data_ptr()
        found[name] = value.clone() if place in taken else value
        taken.add(place)
    return found


def _plain(group: Mapping[str, Any]) -> dict[str, Any]:
    """What an optimiser keeps in a group, without the parameters: numbers and names."""
    kinds = (bool, int, float, str, type(None))
    return {key: value for key, value in group.items() if isinstance(value, kinds)}
