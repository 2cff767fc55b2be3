"""The device that a person named, tried before anything is computed on it, and how it computes."""

from typing import Any, cast

import torch

from kurabe.errors import UserError
from kurabe.recipe import Where

# emoji-32 takes a fifth less time for an image at 32 than at 64, and gives the same bits.
IN_CACHE = 32


def usable(name: str) -> torch.device:
    """The device of that name; UserError where this machine's torch has none such.

    A numbered GPU becomes the current one, which is where accelerate puts a single process.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise UserError(f"There is no device {name} here ({reason}); cpu always works.") from None
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    return device


def at_once(batch: int, device: torch.device) -> int:
    """How many images of a batch pass a network together where only its answers are wanted.

    On a CPU no more than IN_CACHE: beyond, what a layer hands to the next leaves the cache.
    """
    return min(batch, IN_CACHE) if device.type == "cpu" else batch


def compute_as(where: Where) -> None:
    """Threads and algorithms that training takes there; on CPU those that repeat bit for bit."""
    torch.set_num_threads(where.threads)
    if where.device == "cpu":
        torch.use_deterministic_algorithms(True)
        # A property of the module's class, which no annotation tells of.
        cast(Any, torch.utils.deterministic).fill_uninitialized_memory = False
