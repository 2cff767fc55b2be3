"""What a run was made with: code, libraries and machine, as facts for run.json."""

import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_LIBRARIES = ("torch", "numpy", "diffusers", "peft", "accelerate", "transformers", "scikit-learn")


@lru_cache(maxsize=1)
def surroundings() -> dict[str, Any]:
    """version and commit of Kurabe, libraries with their versions, hardware.

    The commit is that of the checkout the code lies in, with "+" behind it where files differ
    from it; None where the code was installed without its history.
    """
    return {
        "version": _version("kurabe"),
        "commit": _commit(Path(__file__).parent),
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
        "hardware": {
            "processor": _processor(),
            "cores": cores(),
            "system": platform.system(),
            "python": platform.python_version(),
        },
    }


def cores() -> int:
    """Cores that this process may use; fewer than the machine's where it is confined."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit(folder: Path) -> str | None:
    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
        return done.stdout.strip()

    try:
        # Only a checkout of this code counts, not one that its installation happens to lie in.
        if not git("ls-files", "--error-unmatch", __file__):
            return None
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno", ".") else "")
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
