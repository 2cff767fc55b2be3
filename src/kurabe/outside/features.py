"""Features that a model elsewhere gave, from a file with ids, and their rows.

Parquet: columns `id` and `embedding` (as `kurabe embed` writes them; `features` or `vector` do
too). npz, without pickles: arrays `ids` and `features`. safetensors: a tensor `features`, and `ids`
in the metadata, as a JSON list. Ids are the images' names below the study's folder.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from kurabe import data
from kurabe.errors import UserError

VECTORS = ("embedding", "features", "vector")


def read_features(place: str, images: data.ImageSet) -> np.ndarray:
    """Vectors of the study's images, float32 (N, dim), in their order.

    UserError where an id is there twice, is of no image of the study, or an image has none, and
    where a value is not finite.
    """
    path = Path(place)
    readers = {".parquet": _parquet, ".npz": _npz, ".safetensors": _safetensors}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path} is no file of features: give .parquet, .npz or .safetensors.")
    try:
        ids, vectors = readers[path.suffix.lower()](path)
    except (KeyError, ValueError, OSError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as features with ids ({error}).") from None
    if vectors.ndim != 2 or len(vectors) != len(ids):
        raise UserError(f"{path}: {len(ids)} ids, and features of shape {vectors.shape}.")
    rows = {name: row for row, name in enumerate(ids)}
    if len(rows) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise UserError(f"{path} has the id '{twice}' twice.")
    dropped = {name for name, _ in images.report.duplicates} if images.report else set()
    if unknown := rows.keys() - set(images.ids) - dropped:
        raise UserError(
            f"{path}: {len(unknown)} ids are of no image of the study, '{min(unknown)}' for one."
        )
    if missing := [name for name in images.ids if name not in rows]:
        raise UserError(
            f"{path} has no features of {len(missing)} of {len(images)} images, "
            f"'{missing[0]}' for one."
        )
    found = vectors[[rows[name] for name in images.ids]].astype(np.float32)
    if not np.isfinite(found).all():
        place_of = int(np.flatnonzero(~np.isfinite(found).all(1))[0])
        raise UserError(f"{path}: the features of '{images.ids[place_of]}' are not finite.")
    return found


def _parquet(path: Path) -> tuple[list[str], np.ndarray]:
    from pyarrow import parquet

    table: Any = parquet.ParquetFile(path).read()
    name = next(name for name in (*VECTORS, "") if name in table.column_names or not name)
    return table["id"].to_pylist(), np.array(table[name].to_pylist(), np.float32)


def _npz(path: Path) -> tuple[list[str], np.ndarray]:
    with np.load(path, allow_pickle=False) as stored:
        return [str(name) for name in stored["ids"]], stored["features"]


def _safetensors(path: Path) -> tuple[list[str], np.ndarray]:
    from safetensors import safe_open

    with safe_open(path, "np") as stored:
        ids = json.loads((stored.metadata() or {})["ids"])
        return [str(name) for name in ids], stored.get_tensor("features")


def feature_rows(
    vectors: np.ndarray,
    images: data.ImageSet,
    split: data.Split,
    settings: Any,
    encoder: Any,
    seed: int,
) -> dict[str, Any]:
    """The rows that need no model: k-NN, probe and few labels where there are labels, rank.

    Retrieval of an own view would need features of the view, which a file of images has not.
    """
    from kurabe.evaluation.feature_rows import Fixed, of_fixed
    from kurabe.evaluation.references import attach, representations
    from kurabe.evaluation.subsets import gather

    material = gather(images, split, settings)
    source = Fixed("outside", lambda pictures: vectors[pictures.positions])
    rows = of_fixed(source, material, settings, seed)
    attach(rows, representations(images, split, material, settings, encoder, {}, seed))
    return rows
