"""Bases: pretrained denoisers that a run may start from, found by name. No torch here.

A base's folder holds `model.safetensors`, `base.json` (network, image size, channels, what it
was trained on) and `README.md`, its model card.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kurabe.errors import UserError

_SHIPPED = Path(__file__).parent


@dataclass(frozen=True)
class Base:
    """A pretrained denoiser: where it lies and which images it draws."""

    name: str
    path: Path
    image_size: int
    channels: int
    info: dict[str, Any]


def available() -> tuple[str, ...]:
    """Names of the shipped bases, sorted."""
    return tuple(sorted(p.parent.name for p in _SHIPPED.glob("*/base.json")))


def find(name: str) -> Base:
    """The shipped base of that name, or the base in that folder; UserError if there is none."""
    folder = _SHIPPED / name if name in available() else Path(name)
    try:
        info = json.loads((folder / "base.json").read_bytes())
        return Base(folder.name, folder, info["image_size"], info["channels"], info)
    except (OSError, KeyError, TypeError, ValueError, RecursionError):
        known = ", ".join(available()) or "none shipped"
        raise UserError(
            f"'{name}' is neither a shipped base ({known}) nor a base's folder."
        ) from None
