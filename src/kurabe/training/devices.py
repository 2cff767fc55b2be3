"""The device that a person named, tried before anything is computed on it."""

import torch

from kurabe.errors import UserError


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
