"""The uint8 cache: images that were decoded once, one uncompressed .npz file per key.

A key names the content and everything done to it; FORMAT is raised with every change of decoding,
scaling or grouping, so an entry never goes stale. Many pixels
are read where they are used (`kurabe.data.large`). A file is
written whole or not at all, so several processes may write the same entry. No mathematics.
"""

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from kurabe.data.images import ImageSet
from kurabe.data.large import IN_MEMORY, in_parts, member
from kurabe.data.report import Report
from kurabe.files import cache_dir, write_atomic

FORMAT = 5

Arrays: TypeAlias = dict[str, NDArray[Any]]


def cached(key: dict[str, Any], make: Callable[[], ImageSet]) -> ImageSet:
    """The set stored under `key` (JSON values), else the one that `make` gives, then stored.

    A full or read-only disk costs the cache, never the images. A set of which something could not
    be looked into is not kept.
    """
    with contextlib.suppress(ValueError, KeyError):
        if (stored := read(key)) is not None:
            return _set_of(stored)
    images = make()
    if images.report is not None and not images.report.complete:
        return images
    arrays = _arrays_of(images)
    kept = write(key, arrays)
    return images if kept is arrays else _set_of(kept)


def read(key: dict[str, Any]) -> Arrays | None:
    """The arrays stored under `key`, None where there are none; pixels where they lie, if many."""
    path = _place(key)
    try:
        with zipfile.ZipFile(path) as archive, np.load(path, allow_pickle=False) as arrays:
            return {name: _array(archive, arrays, name, path) for name in arrays.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def write(key: dict[str, Any], arrays: Arrays) -> Arrays:
    """Store arrays under `key`; the same, or what was stored where they are too large for memory.

    A full or read-only disk costs the cache, never the arrays.
    """
    with contextlib.suppress(OSError):
        write_atomic(_place(key), lambda file: _write(arrays, file))
    # What is too large for memory need not stay there.
    large = any(array.nbytes > IN_MEMORY for array in arrays.values())
    return (read(key) or arrays) if large else arrays


def as_bytes(value: Any) -> NDArray[np.uint8]:
    """JSON values as an array."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def _place(key: dict[str, Any]) -> Path:
    text = json.dumps({"format": FORMAT, **key}, sort_keys=True)
    return cache_dir() / "images" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"


def _array(archive: zipfile.ZipFile, arrays: Any, name: str, path: Path) -> NDArray[Any]:
    mapped = member(archive, f"{name}.npy", path) if name.startswith("pixels") else None
    return arrays[name] if mapped is None else mapped


def _write(arrays: Arrays, file: BinaryIO) -> None:
    """As np.savez does, but of what lies on disk no more than a part is in memory."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stored:
                header = np.lib.format.header_data_from_array_1_0(np.ascontiguousarray(array[:0]))
                header = header | {"shape": array.shape}
                np.lib.format.write_array_header_1_0(cast(Any, stored), header)
                for part in in_parts(array):
                    stored.write(np.ascontiguousarray(part).data)


def _arrays_of(images: ImageSet) -> Arrays:
    meta = {
        "name": images.name,
        "ids": images.ids,
        "label_names": images.label_names,
        "report": images.report and images.report.as_dict(),
    }
    arrays = {"meta": as_bytes(meta), "pixels": images.pixels, "groups": images.groups}
    return arrays if images.labels is None else {**arrays, "labels": images.labels}


def _set_of(arrays: Arrays) -> ImageSet:
    meta = json.loads(arrays["meta"].tobytes())
    return ImageSet(
        name=meta["name"],
        pixels=arrays["pixels"],
        ids=tuple(meta["ids"]),
        groups=arrays["groups"],
        labels=arrays.get("labels"),
        label_names=tuple(meta["label_names"]),
        report=meta["report"] and Report.from_dict(meta["report"]),
    )
