"""What is computed once and shared between runs, on disk, by the digest of what it came from.

Encoder features are kept per data set and encoder as rows, since every block draws its training
images anew from the same set; results (reference rows) as JSON. Files are replaced whole, so
processes may share them: the worst that a race costs is work done twice. No mathematics.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from kurabe.data.images import ImageSet
from kurabe.data.large import taken
from kurabe.encoders import Encoder
from kurabe.files import cache_dir, write_bytes_atomic

# Counted up when a result's meaning changes, so that no old one is taken for a new one.
FORMAT = 3


def digest_of(*parts: Any) -> str:
    """Twenty-four hex digits over JSON values and arrays."""
    digest = hashlib.sha256(str(FORMAT).encode())
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:24]


def cached_result(kind: str, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The JSON object stored for `key`, else the one that `make` gives, then stored."""
    path = cache_dir() / "evaluation" / f"{kind}-{key}.json"
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        pass
    result = make()
    _store(path, json.dumps(result, ensure_ascii=False).encode())
    return result


def cached_array(kind: str, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array stored for `key`, else the one that `make` gives, then stored."""
    path = cache_dir() / "evaluation" / f"{kind}-{key}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        pass
    array = make()
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    _store(path, buffer.getvalue())
    return array


def encoded(encoder: Encoder, images: ImageSet, index: np.ndarray) -> np.ndarray:
    """Features of images[index], float32 (N, dim); only those not seen before are computed."""
    path = cache_dir() / "features" / f"{digest_of(encoder.identity, images.digest)}.npz"
    rows, features = _read(path, encoder.dim)
    missing = np.setdiff1d(index, rows)
    if len(missing):
        new = encoder.encode(taken(images.pixels, missing))
        rows, features = np.concatenate([rows, missing]), np.concatenate([features, new])
        _write(path, rows, features)
    order = np.argsort(rows)
    return features[order[np.searchsorted(rows, index, sorter=order)]]


def _read(path: Path, dim: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            return stored["rows"], stored["features"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return np.empty(0, np.int64), np.empty((0, dim), np.float32)


def _write(path: Path, rows: np.ndarray, features: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, rows=rows, features=features)
    _store(path, buffer.getvalue())


def _store(path: Path, data: bytes) -> None:
    # A full or read-only disk costs the cache, never the result.
    with suppress(OSError):
        write_bytes_atomic(path, data)
