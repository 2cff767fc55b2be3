"""The latents of an AutoencoderKL (Rombach et al. 2022), (encoder's mean − shift) · scaling.

The encoder's distribution is narrow; its mean is taken, so that an image has one set of latents,
which is computed once and kept. Images of more than WHOLE pixels pass in the tiles of diffusers'
`enable_tiling`: as large as the autoencoder's own images, overlapping by a quarter and blended.
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import override

from kurabe.backbones.diffusers_frame.network import make
from kurabe.backbones.diffusers_frame.weights import load_part
from kurabe.bases import diffusers_folder
from kurabe.bases.diffusers_network import Autoencoder
from kurabe.errors import UserError
from kurabe.sizes import Sides, Size, sides_of, times
from kurabe.spaces import Space, scaled, to_pixels

# So many images pass together, as long as they have no more pixels than that: an encoder's inner
# images are far larger than what it gives, about 4 KiB for each pixel.
AT_ONCE, PIXELS_AT_ONCE = 8, 8 * 256**2
# The most pixels of an image that passes whole, as it does in diffusers' pipelines unless told
# otherwise.
WHOLE = 1024**2


class Latents(Space):
    """Images as an autoencoder sees them; its weights are frozen and no part of the network's.

    side: pixels of an image that one pixel of latents stands for, in each direction.
    tiled: whether images pass in tiles.
    """

    cached = True

    def __init__(
        self,
        vae: nn.Module,
        image_size: Size,
        channels: int,
        side: int,
        scaling: float,
        shift: float,
    ) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self.image_size, self.channels = sides_of(image_size), channels
        self.side, self.scaling, self.shift = side, scaling, shift
        depth: int = cast(Any, vae).config.latent_channels
        height, width = self.image_size
        self.shape = (depth, height // side, width // side)
        self.at_once = max(1, min(AT_ONCE, PIXELS_AT_ONCE // (height * width)))
        self.tiled = height * width > WHOLE

    @cached_property
    def identity(self) -> str:
        """Sixteen hex digits over the autoencoder's weights and how latents are made and scaled."""
        how = f"{self.scaling} {self.shift} {self.shape}" + (" tiled" if self.tiled else "")
        digest = hashlib.sha256(how.encode())
        for name, tensor in sorted(self.vae.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    @override
    def of_size(self, image_size: Sides) -> "Latents":
        of_vae = self.channels, self.side, self.scaling, self.shift
        return Latents(self.vae, image_size, *of_vae)

    @override
    def to(self, device: torch.device) -> "Latents":
        self.vae.to(device)
        return self

    @override
    # Not in inference mode, whose tensors could not be trained on.
    @torch.no_grad()
    def encode(self, pixels: NDArray[np.uint8], device: torch.device | str | None = None) -> Tensor:
        vae = self._network(device)
        parts = [
            vae.encode(scaled(pixels[k : k + self.at_once], vae.device)).latent_dist.mode()
            for k in range(0, len(pixels), self.at_once)
        ]
        return (torch.cat(parts) - self.shift) * self.scaling

    @override
    @torch.inference_mode()
    def decode(self, x: Tensor) -> NDArray[np.uint8]:
        vae = self._network(x.device)
        z = x.float() / self.scaling + self.shift
        parts = [to_pixels(vae.decode(part).sample) for part in z.split(self.at_once)]
        return np.concatenate(parts)

    def _network(self, device: torch.device | str | None) -> Any:
        """The autoencoder on that device, told whether to tile: spaces of other sizes share it."""
        vae = cast(Any, self.vae if device is None else self.vae.to(device))
        (vae.enable_tiling if self.tiled else vae.disable_tiling)()
        return vae


def latents_of(image_size: Sides, channels: int, settings: Autoencoder) -> Latents:
    """The latents of the AutoencoderKL that lies in a folder; UserError
    where it cannot be read, or images do not fill whole latents."""
    if any(side % settings.side for side in image_size) or channels != settings.channels:
        raise UserError(
            f"The autoencoder takes {'grey' if settings.channels == 1 else 'colour'} images of "
            f"multiples of {settings.side} pixels, not {times(image_size)} of {channels} "
            "channels; give another --size."
        )
    part = Path(settings.folder) / "vae"
    vae = make("AutoencoderKL", json.loads(settings.config))
    load_part(vae, part, diffusers_folder.weight_files(part))
    return Latents(vae, image_size, channels, settings.side, settings.scaling, settings.shift)
