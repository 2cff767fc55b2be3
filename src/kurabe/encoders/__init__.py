"""Encoders: fixed networks, trained elsewhere, in whose features images are compared.

An encoder is never one of the methods compared, though a term may follow one: not the one that
measures. `pixels` is the baseline that needs no network; those of `kurabe.encoders.networks`, of
`kurabe.training.base_encoder` and of other packages are found through the registry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from kurabe import registry
from kurabe.errors import UserError
from kurabe.sizes import Sides, Size, setting_of, sides_of

if TYPE_CHECKING:
    import torch


class Encoder(ABC):
    """uint8 images (N, H, W, C) of any size, grey or colour → features (N, dim).

    `name` stands in the names of metrics; `identity` also tells versions apart, for caches.
    """

    name: str
    identity: str
    dim: int

    @abstractmethod
    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Features of uint8 images (N, H, W, C), float32 (N, dim)."""

    def by_place(self, pixels: np.ndarray) -> np.ndarray:
        """Features of uint8 images (N, H, W, C) by place, float32 (N, rows, columns, dim).

        UserError where an encoder has none.
        """
        raise UserError(f"The encoder {self.name} has no features by place; take another.")


class PixelEncoder(Encoder):
    """The image itself, values in [0, 1], as one vector."""

    name = "pixels"

    def __init__(self, size: Size, channels: int) -> None:
        height, width = sides_of(size)
        self.dim = height * width * channels
        self.identity = f"pixels {setting_of(size)} {channels}"

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Flattened pixels over 255."""
        return pixels.reshape(len(pixels), -1).astype(np.float32) / np.float32(255)


def of_pixels(of: str, size: Sides, channels: int, device: torch.device) -> Encoder:
    """The baseline that needs no network."""
    nothing_more("pixels", of)
    return PixelEncoder(size, channels)


def nothing_more(name: str, of: str) -> None:
    """UserError where something stands behind the name of an encoder that takes nothing."""
    if of:
        raise UserError(f"The encoder {name} takes nothing behind its name: not {name}:{of}.")


@lru_cache(maxsize=4)
def load_encoder(name: str, *, size: Size = 32, channels: int = 3, device: str = "cpu") -> Encoder:
    """The encoder of that name, or KIND:OF; size and channels are those of the images.

    Raises UserError where there is none of that name or its weights are not at hand.
    """
    import torch

    kind, _, of = name.partition(":")
    return registry.load("encoders", kind)(of, sides_of(size), channels, torch.device(device))
