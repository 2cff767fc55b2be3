"""The parts of a folder that diffusers wrote, loaded: schedule, weights, text encoders, space."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kurabe import registry
from kurabe.backbones import Backbone
from kurabe.backbones.diffusers_frame.network import Listening
from kurabe.backbones.diffusers_frame.weights import load_part
from kurabe.bases import diffusers_folder
from kurabe.bases.diffusers_network import DiffusersNetwork
from kurabe.bases.network import Described
from kurabe.bases.scheduler import Scheduler
from kurabe.conditions.text import TextEncoder
from kurabe.diffusion import NetworkDenoiser, Schedule
from kurabe.diffusion.schedule import Betas, RectifiedFlow
from kurabe.errors import UserError
from kurabe.sizes import Size, sides_of
from kurabe.spaces import Space


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


@contextmanager
def asking(backbone: Backbone, network: Described, text: str | None) -> Iterator[None]:
    """Inside, a network that reads is asked for that text instead; as ever where it is None."""
    if text is None:
        yield
        return
    assert isinstance(backbone, Listening)
    before = backbone.asked
    backbone.ask(encoder_of(network).encode([text]).to(before))
    try:
        yield
    finally:
        backbone.ask(before)


def space_of(network: Described, image_size: Size, channels: int) -> Space:
    """The space that a network works in: pixels, or an autoencoder's latents.

    UserError where the autoencoder cannot be read, or images do not fill whole latents.
    """
    name, given = network.space
    return registry.load("spaces", name)(sides_of(image_size), channels, *given)


def load_diffusers(denoiser: NetworkDenoiser, folder: Path) -> None:
    """Take over the weights that lie in a folder that diffusers wrote, in float32.

    UserError where a file is no safetensors file, or names and shapes are not the network's.
    """
    part = folder / diffusers_folder.denoiser_part(folder)
    load_part(denoiser.backbone.get_submodule("network"), part, diffusers_folder.weight_files(part))
