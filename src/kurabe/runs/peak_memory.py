"""How much memory a run takes, counted from its start, in a process that has seen other runs.

On a GPU torch counts; elsewhere the system does, in pages of the process. What earlier runs left
behind is taken off, so that a run's number does not hang on what ran before it.
"""

import ctypes
import gc
import sys
from contextlib import suppress
from pathlib import Path

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# Where the system's own peak cannot be taken back to the present, it is that of all runs of a
# process; so there each run has its own. Windows tells no peak at all.
CAN_STAY = sys.platform in ("linux", "win32")

_at_first: int | None = None


class PeakMemory:
    """Counts from where it is made: the most bytes held at once since then.

    device: as torch names it.
    """

    def __init__(self, device: str) -> None:
        global _at_first
        self.on_gpu = device.startswith("cuda")
        self.device = device
        self._left = 0
        if self.on_gpu:
            import torch

            torch.cuda.reset_peak_memory_stats(device)
            self._left = torch.cuda.memory_allocated(device)
        elif (held := _pages("VmRSS")) is not None:
            # 5 takes the peak back to what is held now (proc(5)).
            with suppress(OSError):
                _FORGET.write_text("5", encoding="ascii")
            _at_first = held if _at_first is None else _at_first
            self._left = max(0, held - _at_first)

    @property
    def bytes(self) -> int | None:
        """The most bytes held at once; None where the system does not tell."""
        if self.on_gpu:
            import torch

            return torch.cuda.max_memory_allocated(self.device) - self._left
        peak = _pages("VmHWM")
        return _of_process() if peak is None else peak - self._left


def let_go() -> None:
    """Give back what a run held: torch's own reserves and, with glibc, those of the process."""
    gc.collect()
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        # Another C library has no such function.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def _pages(field: str) -> int | None:
    """A field of /proc/self/status in bytes; None where there is none."""
    try:
        lines = _STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith(f"{field}:")), None)
    return None if found is None else 1024 * int(found.split()[1])


def _of_process() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
