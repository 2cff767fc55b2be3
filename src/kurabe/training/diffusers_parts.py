"""The parts of a folder that diffusers wrote, loaded: schedule, weights, text encoders, space."""

import json
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kurabe import registry
from kurabe.backbones import Backbone
from kurabe.backbones.diffusers.network import Listening, make
from kurabe.bases import diffusers_folder
from kurabe.bases.diffusers_network import Autoencoder, DiffusersNetwork
from kurabe.bases.network import Described
from kurabe.bases.scheduler import Scheduler
from kurabe.conditions.text import TextEncoder
from kurabe.diffusion import NetworkDenoiser, Schedule
from kurabe.diffusion.schedule import Betas, RectifiedFlow
from kurabe.errors import UserError
from kurabe.spaces import Space
from kurabe.spaces.latents import Latents

_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_ATTENTION = re.compile(r"(?<=attentions\.\d)\.(query|key|value|proj_attn)\.")


def schedule_of(scheduler: Scheduler) -> Schedule:
    """The schedule that a diffusers scheduler describes."""
    if scheduler.kind == "flow":
        return RectifiedFlow(shift=scheduler.shift, steps=scheduler.steps)
    named = (
        "steps", "curve", "first", "last", "given", "zero_terminal", "spacing", "offset",
        "ends_clean",
    )  # fmt: skip
    return Betas(**{name: getattr(scheduler, name) for name in named})


def encoder_of(network: Described) -> TextEncoder:
    """What reads the texts that a network is told."""
    assert isinstance(network, DiffusersNetwork)
    assert network.prompt is not None and network.condition is not None
    return TextEncoder(Path(network.prompt.folder), network.condition, network.settings)


def ask(backbone: Backbone, network: Described) -> None:
    """Say what a text-conditional network is to draw where nothing else is said.

    UserError where its encoders give other widths than it takes.
    """
    assert isinstance(backbone, Listening) and network.told is not None
    encoder, prompt = encoder_of(network), network.told
    gives = (encoder.width, encoder.pooled)
    for what, given, read in zip(("a token", "a whole text"), gives, backbone.reads, strict=True):
        if given != read:
            raise UserError(
                f"{prompt.folder}: of {what} the text encoder gives {given} numbers, and the "
                f"network takes {read}."
            )
    backbone.ask(encoder.encode([prompt.text]).to(next(backbone.parameters()).device))


def space_of(network: Described, image_size: int, channels: int) -> Space:
    """The space that a network works in: pixels, or an autoencoder's latents.

    UserError where the autoencoder cannot be read, or images do not fill whole latents.
    """
    name, given = network.space
    return registry.load("spaces", name)(image_size, channels, *given)


def latents_of(image_size: int, channels: int, settings: Autoencoder) -> Latents:
    """The latents of the AutoencoderKL that lies in a folder; UserError as in `space_of`."""
    if image_size % settings.side or channels != settings.channels:
        raise UserError(
            f"The autoencoder takes {'grey' if settings.channels == 1 else 'colour'} images of "
            f"multiples of {settings.side} pixels, not {image_size}×{image_size} of {channels} "
            "channels; give another --size."
        )
    part = Path(settings.folder) / "vae"
    vae = make("AutoencoderKL", json.loads(settings.config))
    load_part(vae, part, diffusers_folder.weight_files(part))
    return Latents(vae, image_size, channels, settings.side, settings.scaling, settings.shift)


def load_diffusers(denoiser: NetworkDenoiser, folder: Path) -> None:
    """Take over the weights that lie in a folder that diffusers wrote, in float32.

    UserError where a file is no safetensors file, or names and shapes are not the network's.
    """
    part = folder / diffusers_folder.denoiser_part(folder)
    load_part(denoiser.backbone.get_submodule("network"), part, diffusers_folder.weight_files(part))


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
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is not a safetensors file ({error}).") from None
    return {_today(n): w.float() if w.is_floating_point() else w for n, w in found.items()}


def _today(name: str) -> str:
    """The name of a weight as diffusers has called it since its version 0.17."""
    renamed = _ATTENTION.search(name)
    return name if renamed is None else _ATTENTION.sub(f".{_NAMES[renamed[1]]}.", name)
