"""The encoder-alignment term: an early layer follows a frozen encoder's features, place by place.

Yu et al. (2025), "Representation alignment for generation: Training diffusion transformers is
easier than you think" (REPA): with y the encoder's features of the clean image, z a layer's tokens
at time t and a head h that is thrown away, −(1/N) Σ_n cos(y_n, h(z_n)). Three linear layers with
SiLU between them make the head, and λ is 0.5, as in the authors' code. Where the encoder has
another grid, y is brought onto z's.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kurabe.diffusion import NetworkDenoiser
from kurabe.encoders import Encoder, load_encoder
from kurabe.objectives.encoder_alignment import EncoderAlignment
from kurabe.objectives.term import Pass, Stream, Term, layer_at, on_grid


class EncoderAlignmentTerm(Term):
    """−cosine on the images that are denoised.

    UserError where there is no such encoder, or where it has no features by place.
    """

    def __init__(self, choice: EncoderAlignment, denoiser: NetworkDenoiser) -> None:
        super().__init__()
        backbone = denoiser.backbone
        self.weight, self.layer = choice.weight, layer_at(backbone, choice.depth)
        self.stream = Stream("images", layers=(self.layer,), pixels=True)
        self.grid = backbone.grid_of(self.layer)
        self.encoder = _loaded(choice.encoder, denoiser)
        seen = self.encoder.by_place(np.zeros((1, *backbone.image_size, 1), np.uint8))
        dim, width = backbone.dim_of(self.layer), choice.projection
        self.head = nn.Sequential(
            nn.Linear(dim, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, seen.shape[-1]),
        )

    def streams(self, progress: float) -> tuple[Stream, ...]:
        return (self.stream,)

    def forward(self, passes: Mapping[str, Pass]) -> Tensor:
        images = passes["images"]
        target = self._target(images)
        followed = self.head(images.features[self.layer]).float()
        return -F.cosine_similarity(target, followed, dim=-1).mean(1)

    def _target(self, images: Pass) -> Tensor:
        """The encoder's features on the layer's grid, float32 (B, N, D)."""
        pixels = images.batch.pixels
        assert pixels is not None
        # The encoder computes as it does where it measures, whatever training computes in.
        with torch.no_grad(), torch.autocast(pixels.device.type, enabled=False):
            found = torch.from_numpy(self.encoder.by_place(pixels.cpu().numpy()))
            tokens = found.to(pixels.device).flatten(1, 2)
            return on_grid(tokens, (found.shape[1], found.shape[2]), self.grid)


def _loaded(name: str, denoiser: NetworkDenoiser) -> Encoder:
    """The encoder; making a network draws weights, which must not move those of the head."""
    backbone = denoiser.backbone
    device = next(denoiser.parameters()).device
    with torch.random.fork_rng(devices=[]):
        return load_encoder(
            name, size=backbone.image_size, channels=backbone.in_channels, device=str(device)
        )
