"""A trained run as a Python user meets it: sample, embed, scores."""

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from kurabe.data import ImageSet
from kurabe.records import RunFolder, Score
from kurabe.runs.embedding import Wanted, embed_images
from kurabe.runs.names import source_of
from kurabe.runs.pictures import as_pixels
from kurabe.runs.precision import settled_device
from kurabe.sizes import times
from kurabe.training import Model, load_model


@dataclass(frozen=True, repr=False)
class LoadedRun:
    """A run or a base, its model loaded."""

    folder: RunFolder
    model: Model

    def sample(self, n: int, seed: int = 0, class_name: str | None = None) -> np.ndarray:
        """n images, uint8 (n, H, W, C); image k has the starting noise of seed + k.

        class_name: of all of them, where the run was told classes; else each as often as there.

        >>> import kurabe
        >>> kurabe.load("emoji-32").sample(2).shape
        (2, 32, 32, 3)
        """
        return self.model.sample(range(seed, seed + n), class_name=class_name)

    def embed(self, images: Any, draws: int = 4) -> np.ndarray:
        """Features at the place that the run's search found: float32 (N, dim), a row an image.

        images: arrays (N, H, W, C) or (H, W, C), uint8 or floats from 0 to 1; torch tensors
        (N, C, H, W), floats from 0 to 1 or uint8; PIL images; paths of files, folders, archives,
        or names of known sets; lists of these; an ImageSet. Of any size and colour: they are
        cropped and resized as files are. UserError says what else was given.

        >>> import kurabe
        >>> model = kurabe.load("emoji-32")
        >>> model.embed(model.sample(2)).shape[0]
        2
        """
        pixels = as_pixels(images, self.model.image_size, self.model.channels)
        count = len(pixels)
        ids = tuple(str(k) for k in range(count))
        prepared = ImageSet("given", pixels, ids, np.arange(count, dtype=np.int64))
        wanted = Wanted(None, None, None, draws)
        return embed_images(self.model, prepared, wanted, self.folder).vectors

    @property
    def scores(self) -> dict[str, Score]:
        """What was measured: by metric, its value, n, references and detail; {} for a base."""
        if not self.folder.exists:
            return {}
        return self.folder.score("scores").get("metrics", {})

    @property
    def facts(self) -> dict[str, str]:
        """What this is, in a few words each."""
        size, channels = times(self.model.image_size), self.model.channels
        found = {
            "images": f"{size}, {'colour' if channels == 3 else 'grey'}",
            "parameters": f"{self.model.parameters_count / 1e6:.1f} M",
            "device": str(self.model.device),
        }
        if self.folder.exists:
            info = self.folder.info
            seen = info.get("images_seen")
            found = {"method": info.get("method") or "", **found, "images seen": f"{seen or 0:,}"}
        return found

    def __repr__(self) -> str:
        facts = ", ".join(f"{value}" if key == "images" else f"{key} {value}"
                          for key, value in self.facts.items())  # fmt: skip
        return f"<kurabe {self.folder.path.name}: {facts}>"

    def _repr_html_(self) -> str:
        """A card, as notebooks show it: facts, then what was measured."""
        known = {key: of.get("value") for key, of in self.scores.items()}
        scores = {key: f"{value:.4g}" for key, value in known.items() if value is not None}
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(key)}</th><td>{escape(value)}</td></tr>"
            for key, value in {**self.facts, **scores}.items()
        )
        return f"<table><caption><b>{escape(self.folder.path.name)}</b></caption>{rows}</table>"


def load_run(text: str, device: str = "auto", below: Path = Path()) -> LoadedRun:
    """The run or base that `text` names; UserError where there is none."""
    source = source_of(text, below)
    return LoadedRun(RunFolder(source), load_model(source, settled_device(device)))
