"""Which device and number format train fastest here: what "auto" becomes when a study begins."""

import sys
from pathlib import Path
from typing import Literal

from kurabe.errors import UserError
from kurabe.recipe import a_device

CPU_FLAGS = Path("/proc/cpuinfo")
# Instructions that multiply bfloat16; without them a CPU imitates it, many times slower.
INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}

# Where none of these is, no torch finds a GPU, and torch need not be asked.
GPUS = tuple(Path(path) for path in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))


def settled_device(device: str) -> str:
    """A device as it is named; of "auto" the first of cuda, mps and cpu that this machine has.

    UserError for what is the name of none.
    """
    if device != "auto":
        return _named(device)
    return "cuda" if _gpus() else "mps" if _has_mps() else "cpu"


def check_device(device: str) -> None:
    """UserError where this machine has no such device. Of a GPU's memory nothing is taken."""
    kind, _, number = _named(device).partition(":")
    there = kind == "cpu"
    if kind == "mps":
        there = _has_mps()
    if kind == "cuda":
        there = int(number or 0) < _gpus()
    if not there:
        seen = f"torch sees {_gpus() or 'no'} GPU{'' if _gpus() == 1 else 's'}"
        raise _no_device(device, seen if kind == "cuda" else "torch sees no Metal")


def _named(device: str) -> str:
    try:
        return a_device(device)
    except ValueError as error:
        raise _no_device(device, str(error)) from None


def _no_device(device: str, why: str) -> UserError:
    return UserError(f"There is no device {device} here ({why}); cpu always works.")


def _gpus() -> int:
    if sys.platform == "linux" and not any(path.exists() for path in GPUS):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _has_mps() -> bool:
    if sys.platform == "linux":
        return False
    import torch

    return torch.backends.mps.is_available()


def usual_dtype(device: str) -> Literal["float32", "bfloat16"]:
    """ "bfloat16" where the device multiplies it natively, else "float32".

    Training and sampling then run under torch's autocast: weights, optimiser and sums stay
    float32. Scores are measured in float32 everywhere; the held-out loss that a run looks at on its
    way is computed as the run trains.
    """
    if device.startswith("cuda"):
        import torch

        native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(False)
        return "bfloat16" if native else "float32"
    if device != "cpu" or not CPU_FLAGS.is_file():
        return "float32"
    lines = CPU_FLAGS.read_text("utf-8", "replace").splitlines()
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return "bfloat16" if INSTRUCTIONS & set(flags.split()) else "float32"
