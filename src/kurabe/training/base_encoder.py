"""A frozen denoiser as an encoder: what a base or a run knows of clean images.

Its features are those of one inner layer at little noise, where denoisers know most of an image
(Xiang et al. 2023, "Denoising diffusion autoencoders are unified self-supervised learners"). It
learned without labels, and from other images than ImageNet's.
"""

import numpy as np
import torch

from kurabe.data.resize import recoloured, stretched
from kurabe.encoders import Encoder
from kurabe.errors import UserError
from kurabe.objectives.term import layer_at
from kurabe.sizes import Sides
from kurabe.training.devices import at_once
from kurabe.training.model import load_model

DEPTH, LOG_SNR = 0.67, 5.0


class BaseEncoder(Encoder):
    """The layer at DEPTH of a base; x_t is its mean α x₀, so that no noise is drawn.

    Images are brought to the base's size whole, squeezed where they have another ratio.
    """

    def __init__(self, base: str, device: torch.device) -> None:
        self.model = load_model(base, str(device))
        backbone = self.model.denoiser.backbone
        self.layer = layer_at(backbone, DEPTH)
        self.name, self.dim = f"base:{base}", backbone.dim_of(self.layer)
        self.identity = f"base {self.model.state_digest()} {self.layer} {LOG_SNR:g}"

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        return self.by_place(pixels).mean((1, 2))

    def by_place(self, pixels: np.ndarray) -> np.ndarray:
        model, schedule = self.model, self.model.denoiser.schedule
        own = recoloured(stretched(pixels, model.image_size), model.channels)
        t = schedule.time_of_log_snr(torch.tensor(LOG_SNR, dtype=torch.float64))
        alpha = float(schedule(t)[0])
        step = at_once(64, model.device)
        found: list[np.ndarray] = []
        for start in range(0, len(own), step):
            x = alpha * model.space.encode(own[start : start + step], model.device)
            times = x.new_full((len(x),), float(t))
            tokens = model.features(x, times, (self.layer,))[self.layer]
            found.append(tokens.unflatten(1, model.grid_of(self.layer)).float().cpu().numpy())
        return np.concatenate(found)


def of_base(of: str, size: Sides, channels: int, device: torch.device) -> Encoder:
    """The base, or the run's folder, that stands behind the name; UserError where none does."""
    if not of:
        raise UserError("The encoder base needs a base or a run's folder: base:emoji-32.")
    return BaseEncoder(of, device)
