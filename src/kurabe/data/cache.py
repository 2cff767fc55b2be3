"""The uint8 cache: image sets that were decoded once, one uncompressed .npz file per key.

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
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from kurabe.data.images import ImageSet
from kurabe.data.large import IN_MEMORY, in_parts, member
from kurabe.data.report import Report
from kurabe.files import cache_dir, write_atomic

FORMAT = 5


def cached(key: dict[str, Any], make: Callable[[], ImageSet]) -> ImageSet:
    """The set stored under `key` (JSON values), else the one that `make` gives, then stored.

    A full or read-only disk costs the cache, never the images. A set of which something could not
    be looked into is not kept.
    """
    text = json.dumps({"format": FORMAT, **key}, sort_keys=True)
    path = cache_dir() / "images" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"
    stored = _read(path)
    if stored is not None:
        return stored
    images = make()
    if images.report is not None and not images.report.complete:
        return images
    with contextlib.suppress(OSError):
        write_atomic(path, lambda file: _write(images, file))
    # What is too large for memory need not stay there.
    return images if images.pixels.nbytes <= IN_MEMORY else _read(path) or images


def _write(images: ImageSet, file: BinaryIO) -> None:
    """As np.savez does, but of what lies on disk no more than a part is in memory."""
    meta = {
        "name": images.name,
        "ids": images.ids,
        "label_names": images.label_names,
        "report": images.report and images.report.as_dict(),
    }
    arrays: dict[str, NDArray[Any]] = {
        "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
        "pixels": images.pixels,
        "groups": images.groups,
    }
    if images.labels is not None:
        arrays["labels"] = images.labels
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stored:
                header = np.lib.format.header_data_from_array_1_0(np.ascontiguousarray(array[:0]))
                header = header | {"shape": array.shape}
                np.lib.format.write_array_header_1_0(cast(Any, stored), header)
                for part in in_parts(array):
                    stored.write(np.ascontiguousarray(part).data)


def _read(path: Path) -> ImageSet | None:
    try:
        with zipfile.ZipFile(path) as archive, np.load(path, allow_pickle=False) as arrays:
            mapped = member(archive, "pixels.npy", path)
            meta = json.loads(arrays["meta"].tobytes())
            return ImageSet(
                name=meta["name"],
                pixels=arrays["pixels"] if mapped is None else mapped,
                ids=tuple(meta["ids"]),
                groups=arrays["groups"],
                labels=arrays.get("labels", None),
                label_names=tuple(meta["label_names"]),
                report=meta["report"] and Report.from_dict(meta["report"]),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
