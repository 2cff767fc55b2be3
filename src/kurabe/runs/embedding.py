"""Features of images as a Parquet file that says where they were taken.

The place is layer, log-SNR of the noised image (with the t at which the schedule has it) and the
grid that tokens are pooled to; where nothing is asked for, the one that the run's own search found
on validation images, else the one declared beforehand.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kurabe.data import ImageSet
from kurabe.errors import UserError
from kurabe.evaluation.model_features import Pictures, extract, time_of, usable_grids
from kurabe.files import write_bytes_atomic
from kurabe.recipe import Evaluation
from kurabe.records import RunFolder
from kurabe.training import Model


@dataclass(frozen=True)
class Wanted:
    """What was asked for; None takes what the run's search found."""

    layer: str | None
    log_snr: float | None
    grid: int | None
    draws: int


@dataclass(frozen=True)
class Embedding:
    """vectors: float32 (N, dim); where and how they were taken."""

    vectors: np.ndarray
    layer: str
    log_snr: float
    t: float
    grid: int
    draws: int
    checkpoint: str

    @property
    def described(self) -> str:
        """The place in a few words."""
        return (
            f"{self.layer}, log-SNR {self.log_snr:g} (t = {self.t:.3f}), "
            f"{self.grid}×{self.grid}, {self.draws} draws"
        )


def embed_images(model: Model, images: ImageSet, wanted: Wanted, folder: RunFolder) -> Embedding:
    """Features of all images; UserError for a layer or grid that the network has not."""
    found_layer, found_log_snr, found_grid = _found(model, folder)
    layer = wanted.layer or found_layer
    if layer not in model.feature_layers:
        raise UserError(f"--layer {layer}: there is {', '.join(model.feature_layers)}.")
    log_snr = found_log_snr if wanted.log_snr is None else wanted.log_snr
    if not math.isfinite(log_snr):
        raise UserError(f"--log-snr {log_snr:g}: give a number, 5 (little noise) to -5 (much).")
    grid = wanted.grid or found_grid
    if grid not in usable_grids(model, (grid,)):
        raise UserError(f"--grid {grid}: the network has {_coarsest(model)} tokens a side.")
    pictures = Pictures(images.pixels, np.arange(len(images)))
    cells = extract(model, pictures, log_snr, (layer,), (grid,), wanted.draws)
    vectors = cells[layer, grid]
    t = time_of(model, log_snr)
    return Embedding(vectors, layer, log_snr, t, grid, wanted.draws, model.state_digest())


def write_parquet(path: Path, images: ImageSet, embedding: Embedding) -> None:
    """Columns id, label (where known) and embedding; the place as the file's metadata."""
    import io

    import pyarrow as pa
    from pyarrow import parquet

    flat = pa.array(np.ascontiguousarray(embedding.vectors).reshape(-1))
    columns = {"id": pa.array(images.ids)}
    if images.labels is not None:
        names = [images.label_names[k] if k >= 0 else None for k in images.labels]
        columns["label"] = pa.array(names, pa.string())
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, embedding.vectors.shape[1])
    place = {
        key: getattr(embedding, key)
        for key in ("layer", "log_snr", "t", "grid", "draws", "checkpoint")
    }
    table = pa.table(columns).replace_schema_metadata({"kurabe": json.dumps(place)})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    write_bytes_atomic(path, buffer.getvalue())


def _found(model: Model, folder: RunFolder) -> tuple[str, float, int]:
    """The place of the run's own-view row, else the one that evaluation declares beforehand."""
    measured = folder.score("scores").get("metrics", {}) if folder.exists else {}
    found = measured.get("own-view-recall", {}).get("detail") or {}
    if "layer" in found:
        return found["layer"], found["log_snr"], found["grid"]
    depth, log_snr, grid = Evaluation().place
    layers = model.feature_layers
    return layers[round(depth * (len(layers) - 1))], log_snr, min(grid, _coarsest(model))


def _coarsest(model: Model) -> int:
    """Tokens a side of the layer that has the fewest."""
    return min(min(model.grid_of(layer)) for layer in model.feature_layers)
