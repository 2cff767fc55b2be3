"""What a network of the diffusers library is, as a recipe keeps it: enough to build it anew.

Configurations are kept as their JSON text, word for word; which values they may hold is for
diffusers to say. No torch here.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from kurabe.bases.architecture import architecture as known_architecture
from kurabe.bases.network import Described, Prompt
from kurabe.bases.scheduler import Scheduler


def _is_object(text: str) -> str:
    if not isinstance(json.loads(text), dict):
        raise ValueError("not a JSON object")
    return text


def _is_known(name: str) -> str:
    known_architecture(name)
    return name


Config = Annotated[str, AfterValidator(_is_object)]


class Autoencoder(BaseModel):
    """The space of a base that works in the latents of an AutoencoderKL (Rombach et al. 2022).

    folder: where its weights lie; latents are (z − shift) · scaling; a pixel of latents stands
    for side × side pixels of the image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    config: Config
    channels: Literal[1, 3] = 3
    side: Annotated[int, Field(ge=1)] = 8
    scaling: Annotated[float, Field(gt=0)] = 1.0
    shift: float = 0.0


class DiffusersNetwork(Described, BaseModel):
    """A denoiser of diffusers: its class, configuration, schedule, space and condition."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["diffusers"] = "diffusers"
    architecture: Annotated[str, AfterValidator(_is_known)]
    config: Config
    scheduler: Scheduler = Scheduler()
    autoencoder: Autoencoder | None = None
    prompt: Prompt | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration as an object."""
        return json.loads(self.config)

    @property
    def condition(self) -> str | None:
        """The name of what it is told, in the group "conditions"."""
        return known_architecture(self.architecture).condition(self.settings)

    @property
    def timesteps(self) -> Scheduler:
        return self.scheduler

    @property
    def space(self) -> tuple[str, tuple[Any, ...]]:
        if self.autoencoder is None:
            return super().space
        config = json.loads(self.autoencoder.config)
        return config.get("_class_name", "AutoencoderKL"), (self.autoencoder,)

    @property
    def granule(self) -> int:
        side = 1 if self.autoencoder is None else self.autoencoder.side
        return known_architecture(self.architecture).granule(self.settings) * side

    @property
    def told(self) -> Prompt | None:
        return self.prompt

    @property
    def schedule(self) -> str:
        """The schedule's name."""
        return self.scheduler.kind

    @property
    def prediction(self) -> Literal["eps", "x0", "v", "flow"]:
        """What the network's output means."""
        return self.scheduler.prediction
