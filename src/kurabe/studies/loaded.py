"""A trained run as a Python user meets it: sample, embed, scores."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kurabe.data import ImageSet
from kurabe.records import RunFolder
from kurabe.studies.embedding import Wanted, embed_images
from kurabe.studies.finding import source_of
from kurabe.training import Model, load_model


@dataclass(frozen=True)
class LoadedRun:
    """A run or a base, its model loaded."""

    folder: RunFolder
    model: Model

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """n images, uint8 (n, H, W, C); image k has the starting noise of seed + k."""
        return self.model.sample(range(seed, seed + n))

    def embed(self, images: ImageSet, draws: int = 4) -> np.ndarray:
        """Features at the place that the run's search found: float32 (N, dim)."""
        wanted = Wanted(None, None, None, draws)
        return embed_images(self.model, images, wanted, self.folder).vectors

    @property
    def scores(self) -> dict[str, dict[str, Any]]:
        """What was measured: by metric, its value, n, references and detail; {} for a base."""
        if not self.folder.exists:
            return {}
        return self.folder.scores().get("scores", {}).get("metrics", {})


def load_run(text: str, device: str = "cpu", below: Path = Path()) -> LoadedRun:
    """The run or base that `text` names; UserError where there is none."""
    source = source_of(text, below)
    return LoadedRun(RunFolder(source), load_model(source, device))
