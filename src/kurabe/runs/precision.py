"""Which device and number format train fastest here: what "auto" becomes when a study begins."""

import sys
from pathlib import Path
from typing import Literal

CPU_FLAGS = Path("/proc/cpuinfo")
# Instructions that multiply bfloat16; without them a CPU imitates it, many times slower.
INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}

# Where none of these is, no torch finds a GPU, and torch need not be asked.
GPUS = tuple(Path(path) for path in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))


def settled_device(device: str) -> str:
    """A device as it is named; of "auto" the first of cuda, mps and cpu that this machine has."""
    if device != "auto":
        return device
    if sys.platform == "linux" and not any(path.exists() for path in GPUS):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


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
