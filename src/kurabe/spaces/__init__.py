"""Spaces: what a network sees of an image. The only place where pixels become numbers and back.

`Pixels` are the image itself, x = 2p/255 − 1; `kurabe.spaces.latents` are an autoencoder's.
"""

import hashlib
from abc import ABC, abstractmethod
from contextlib import suppress

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from kurabe.data.large import Growing, in_parts, let_go
from kurabe.errors import UserError
from kurabe.files import cache_dir, write_atomic
from kurabe.sizes import Sides, Size, sides_of, times

# Images that are encoded and kept together; a multiple of what any space takes in one pass.
AT_ONCE = 64


class Space(ABC):
    """Images uint8 (N, H, W, C) to what the network denoises, float32 (N, *shape), and back.

    Attributes
    ----------
    image_size, channels: of the images; their height and width.
    shape: of what the network sees, (channels, rows, columns).
    cached: whether encoding costs enough to be done once for each image.
    identity: what the numbers follow from, besides the pixels.
    """

    image_size: Sides
    channels: int
    shape: tuple[int, int, int]
    cached: bool = False
    identity: str

    def to(self, device: torch.device) -> "Space":
        """The same space, computing on that device."""
        return self

    def of_size(self, image_size: Sides) -> "Space":
        """The same space for images of another size; UserError where it has one size alone."""
        raise UserError(
            f"This network's space is of images of {times(self.image_size)} alone; leave "
            "data.aspects out."
        )

    @abstractmethod
    def encode(self, pixels: NDArray[np.uint8], device: torch.device | str | None = None) -> Tensor:
        """uint8 (N, H, W, C) → float32 (N, *shape) on `device`, else where the space computes."""

    @abstractmethod
    def decode(self, x: Tensor) -> NDArray[np.uint8]:
        """(N, *shape) → uint8 (N, H, W, C), rounded to the nearest value."""


def encoded_once(space: Space, pixels: NDArray[np.uint8]) -> NDArray[np.float16]:
    """What the network sees of all images, float16 (N, *shape), from the cache where it is there.

    Not all in memory: it is read from the file where it is used.
    """
    key = hashlib.sha256(f"{space.identity} {pixels.shape}".encode())
    for part in in_parts(pixels):
        key.update(np.ascontiguousarray(part).data)
    path = cache_dir() / "latents" / f"{key.hexdigest()[:24]}.npy"
    with suppress(OSError, ValueError, EOFError):
        return np.load(path, mmap_mode="r", allow_pickle=False)
    # Beyond half precision's range there would be infinity.
    limit = float(np.finfo(np.float16).max)
    found = Growing(space.shape, np.float16)
    for at in range(0, len(pixels), AT_ONCE):
        x = space.encode(pixels[at : at + AT_ONCE])
        found.append(x.clamp(-limit, limit).half().cpu().numpy())
        let_go(pixels)
    made = found.array()
    # A full or read-only disk costs the cache, never the result.
    with suppress(OSError):
        write_atomic(path, lambda file: np.save(file, made, allow_pickle=False))
    return made


class Pixels(Space):
    """The images themselves, from −1 to 1."""

    identity = "pixels"

    def __init__(self, image_size: Size, channels: int) -> None:
        self.image_size, self.channels = sides_of(image_size), channels
        self.shape = (channels, *self.image_size)

    @override
    def of_size(self, image_size: Sides) -> "Pixels":
        return Pixels(image_size, self.channels)

    @override
    def encode(self, pixels: NDArray[np.uint8], device: torch.device | str | None = None) -> Tensor:
        return scaled(pixels, device)

    @override
    def decode(self, x: Tensor) -> NDArray[np.uint8]:
        return to_pixels(x)


def scaled(pixels: NDArray[np.uint8], device: torch.device | str | None = None) -> Tensor:
    """uint8 (N, H, W, C) → float32 (N, C, H, W) in [−1, 1]."""
    x = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    return x.to(device or "cpu", non_blocking=True).float().mul_(2 / 255).sub_(1)


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Images (N, C, H, W) in [−1, 1] → uint8 (N, H, W, C), rounded to the nearest value."""
    whole = (images.float() + 1).mul(127.5).round().clamp(0, 255)
    return whole.to(torch.uint8).permute(0, 2, 3, 1).cpu().contiguous().numpy()
