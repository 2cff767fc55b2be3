"""Bases: pretrained denoisers that a run may start from, found by name. No torch here.

A base of this project is a folder with `model.safetensors`, `base.json` (network, image size,
channels, what it was trained on) and `README.md`, its model card. A folder that diffusers wrote
(with `model_index.json`), or an id of the Hugging Face hub, is a base too:
`kurabe.bases.diffusers_folder`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kurabe.bases import diffusers_folder
from kurabe.bases.architecture import architecture
from kurabe.errors import UserError
from kurabe.sizes import Sides, sides_of

_SHIPPED = Path(__file__).parent


@dataclass(frozen=True)
class Base:
    """A pretrained denoiser: where it lies and which images it draws.

    info: "network", a recipe's network; where it is known "parameters" and "data".
    """

    name: str
    path: Path
    image_size: Sides
    channels: int
    info: dict[str, Any]

    @property
    def granule(self) -> int:
        """What sides in pixels must be a multiple of for other rectangles than its own; 0 where
        it draws none."""
        if not self.is_diffusers:
            return 0
        network, kind = self.info["network"], architecture(self.info["network"]["architecture"])
        side = (network.get("autoencoder") or {"side": 1})["side"]
        return kind.granule(json.loads(network["config"])) * side

    @property
    def is_diffusers(self) -> bool:
        """Whether diffusers wrote its weights."""
        return self.info["network"].get("kind") == "diffusers"

    @property
    def asks_for_text(self) -> bool:
        """Whether it draws what a text says."""
        return self.is_diffusers and self.info["network"].get("prompt") is not None


def available() -> tuple[str, ...]:
    """Names of the shipped bases, sorted."""
    return tuple(sorted(p.parent.name for p in _SHIPPED.glob("*/base.json")))


def is_one(text: str) -> bool:
    """Whether the text names a shipped base, a base's folder, or one of the hub that lies here."""
    if text in available():
        return True
    marks = ("base.json", diffusers_folder.INDEX)
    return any((Path(text) / mark).is_file() for mark in marks) or diffusers_folder.is_fetched(text)


def find(name: str) -> Base:
    """The shipped base of that name, the base in that folder, or that of the hub.

    UserError where there is none, and for what does not fit in a folder that diffusers wrote.
    """
    folder = _SHIPPED / name if name in available() else Path(name)
    if (folder / diffusers_folder.INDEX).is_file():
        return _of_diffusers(name, folder)
    if diffusers_folder.is_hub_id(name):
        return _of_diffusers(name, diffusers_folder.of_hub(name))
    try:
        info = json.loads((folder / "base.json").read_bytes())
        sides = sides_of(info["image_size"])
        return Base(folder.name, folder, sides, info["channels"], info)
    except (OSError, KeyError, TypeError, ValueError, RecursionError):
        known = ", ".join(available()) or "none shipped"
        raise UserError(
            f"'{name}' is neither a shipped base ({known}) nor a base's folder, with base.json or "
            f"diffusers' {diffusers_folder.INDEX}; give one of these."
        ) from None


def _of_diffusers(name: str, folder: Path) -> Base:
    network, size, channels = diffusers_folder.read_folder(folder)
    known = {
        "network": network.model_dump(mode="json", exclude_none=True),
        "parameters": diffusers_folder.parameters(folder),
    }
    shown = name if diffusers_folder.is_hub_id(name) else folder.resolve().name
    return Base(shown, folder, size, channels, known)
