"""Denoisers from folders that diffusers wrote: schedule, network, weights, space."""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kurabe.backbones import diffusers as networks
from kurabe.bases import folder as folders
from kurabe.bases.foreign import DiffusersNetwork
from kurabe.bases.scheduler import Scheduler
from kurabe.diffusion import NetworkDenoiser, Schedule
from kurabe.diffusion.schedule import Betas, RectifiedFlow
from kurabe.errors import UserError
from kurabe.spaces import Pixels, Space

_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_ATTENTION = re.compile(r"(?<=attentions\.\d)\.(query|key|value|proj_attn)\.")
_KINDS: dict[str, type[networks.DiffusersBackbone]] = {"UNet2DModel": networks.UNet}


def schedule_of(scheduler: Scheduler) -> Schedule:
    """The schedule that a diffusers scheduler describes."""
    if scheduler.kind == "flow":
        return RectifiedFlow(shift=scheduler.shift, steps=scheduler.steps)
    named = (
        "steps", "curve", "first", "last", "given", "zero_terminal", "spacing", "offset",
        "ends_clean",
    )  # fmt: skip
    return Betas(**{name: getattr(scheduler, name) for name in named})


def make_foreign(network: DiffusersNetwork, image_size: int, channels: int) -> NetworkDenoiser:
    """The denoiser of that description, of random weights, for images of that size and colour.

    UserError where none can be built, or it draws other images.
    """
    scheduler = network.scheduler
    try:
        made = networks.make(network.architecture, network.settings)
        kind = _KINDS[network.architecture]
        backbone = kind(made, scheduler.steps, 0 if scheduler.kind == "flow" else 1)
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"diffusers cannot build this {network.architecture} from its configuration: {said}."
        ) from None
    space = space_of(network, image_size, channels)
    draws = (backbone.in_channels, backbone.image_size, backbone.image_size)
    if draws != space.shape:
        raise UserError(
            f"The network does not fit the images: it takes {' × '.join(map(str, draws))} numbers, "
            f"an image has {' × '.join(map(str, space.shape))}."
        )
    return NetworkDenoiser(backbone, schedule_of(scheduler), scheduler.prediction)


def space_of(network: Any, image_size: int, channels: int) -> Space:
    """The space that a network works in; pixels for one of this project's."""
    return Pixels(image_size, channels)


def load_foreign(denoiser: NetworkDenoiser, folder: Path) -> None:
    """Take over the weights that lie in a folder that diffusers wrote, in float32.

    UserError where a file is no safetensors file, or names and shapes are not the network's.
    """
    part = folder / folders.denoiser_part(folder)
    load_part(denoiser.backbone.get_submodule("network"), part, folders.weight_files(part))


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
    extra = sorted(tensors.keys() - own.keys())
    if extra:
        raise UserError(f"{part}: the weights hold '{extra[0]}', which its configuration has not.")
    module.load_state_dict(tensors)


def _read(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, "pt") as opened:
            found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is not a safetensors file ({error}).") from None
    return {_today(n): w.float() if w.is_floating_point() else w for n, w in found.items()}


def _today(name: str) -> str:
    """The name of a weight as diffusers has called it since its version 0.17."""
    renamed = _ATTENTION.search(name)
    return name if renamed is None else _ATTENTION.sub(f".{_NAMES[renamed[1]]}.", name)
