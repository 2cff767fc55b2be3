"""What a network of the diffusers library is, as a recipe keeps it: enough to build it anew.

Configurations are kept as their JSON text, word for word; which values they may hold is for
diffusers to say. No torch here.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from kurabe.bases.scheduler import Scheduler

Architecture = Literal["UNet2DModel", "DiTTransformer2DModel", "UNet2DConditionModel"]


def _is_object(text: str) -> str:
    if not isinstance(json.loads(text), dict):
        raise ValueError("not a JSON object")
    return text


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


class Prompt(BaseModel):
    """The text that a text-conditional base is given, and where its encoder and tokenizer lie."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    text: str


class DiffusersNetwork(BaseModel):
    """A denoiser of diffusers: its class, configuration, schedule, space and condition."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["diffusers"] = "diffusers"
    architecture: Architecture
    config: Config
    scheduler: Scheduler = Scheduler()
    autoencoder: Autoencoder | None = None
    prompt: Prompt | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration as an object."""
        return json.loads(self.config)

    @property
    def schedule(self) -> str:
        """The schedule's name."""
        return self.scheduler.kind

    @property
    def prediction(self) -> str:
        """What the network's output means."""
        return self.scheduler.prediction
