"""Weights that lie in a part of a diffusers folder, taken over into the network of that part."""

import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kurabe.errors import UserError, refusal

_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_ATTENTION = re.compile(r"(?<=attentions\.\d)\.(query|key|value|proj_attn)\.")


def load_part(module: torch.nn.Module, part: Path, files: list[Path]) -> None:
    """Take over the weights in those files of a part; UserError where they do not fit."""
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= _read(file)
    own = module.state_dict()
    for name, tensor in own.items():
        if name not in tensors:
            raise UserError(f"{part}: the weights lack '{name}', which its configuration asks for.")
        if tensors[name].shape != tensor.shape:
            has, asked = (" × ".join(map(str, s)) for s in (tensors[name].shape, tensor.shape))
            raise UserError(
                f"{part}: the weights' '{name}' is {has}, where its configuration asks for {asked}."
            )
    # What is computed anew, positions say, need not be stored, but is by some.
    known = own.keys() | dict(module.named_buffers()).keys()
    extra = sorted(tensors.keys() - known)
    if extra:
        raise UserError(f"{part}: the weights hold '{extra[0]}', which its configuration has not.")
    module.load_state_dict({name: tensors[name] for name in own})


def _read(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, "pt") as opened:
            found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except OSError as error:
        error.filename = str(file)
        raise refusal(error) from None
    except SafetensorError as error:
        raise UserError(f"{file} is not a safetensors file ({error}).") from None
    return {_today(n): w.float() if w.is_floating_point() else w for n, w in found.items()}


def _today(name: str) -> str:
    """The name of a weight as diffusers has called it since its version 0.17."""
    renamed = _ATTENTION.search(name)
    return name if renamed is None else _ATTENTION.sub(f".{_NAMES[renamed[1]]}.", name)
