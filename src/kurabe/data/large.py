"""Pixels that are too many for memory: read from a file where they are used.

An array of more than IN_MEMORY bytes is mapped into memory from its place on disk, read-only; the
system keeps of it what is in use and what there is room for. No mathematics.
"""

import mmap
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kurabe.files import cache_dir

IN_MEMORY = 64 << 20
# Images that are looked at together.
AT_ONCE = 1024
# A zip file's local header: its fixed length, and where the lengths of name and extra field stand.
_HEADER, _LENGTHS = 30, slice(26, 30)


def parts(count: int) -> Iterator[slice]:
    """Slices that cover range(count), AT_ONCE each."""
    return (slice(at, min(at + AT_ONCE, count)) for at in range(0, count, AT_ONCE))


def in_parts(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """All images, AT_ONCE at a time; what lies on disk takes memory for one part only."""
    for part in parts(len(pixels)):
        yield pixels[part]
        let_go(pixels)


def let_go(pixels: NDArray[np.uint8]) -> None:
    """Keep nothing in memory of pixels that lie on disk; they are read again where they are used.

    Without effect on others, and on systems that have no such advice.
    """
    beneath: Any = pixels
    while isinstance(beneath, np.ndarray):
        beneath = beneath.base
    if isinstance(beneath, mmap.mmap) and (advice := getattr(mmap, "MADV_DONTNEED", None)):
        beneath.madvise(advice)


def taken(pixels: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.uint8]:
    """pixels[places]; where these are many, in a nameless file that goes with the array."""
    shape = (len(places), *pixels.shape[1:])
    # Windows lets no open file go.
    if np.prod(shape, dtype=np.int64) > IN_MEMORY and sys.platform != "win32":
        # A full or read-only disk costs memory, never the images.
        with suppress(OSError):
            cache_dir().mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=cache_dir()) as file:
                for part in parts(len(places)):
                    file.write(pixels[places[part]].tobytes())
                    let_go(pixels)
                file.flush()
                return np.asarray(np.memmap(file, np.uint8, "r", shape=shape))
    return pixels[places]


def member(archive: zipfile.ZipFile, name: str, path: Path) -> NDArray[np.uint8] | None:
    """An array of an .npz file where it lies in the file; None for one that fits into memory.

    ValueError where it is compressed, or no array of plain numbers.
    """
    info = archive.getinfo(name)
    if info.file_size <= IN_MEMORY:
        return None
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(_HEADER)
        lengths = np.frombuffer(header[_LENGTHS], "<u2")
        file.seek(info.header_offset + _HEADER + int(lengths.sum()))
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{name} is of another version")
        shape, by_column, dtype = np.lib.format.read_array_header_1_0(file)
        if by_column or dtype != np.uint8:
            raise ValueError(f"{name} holds no pixels")
        return np.asarray(np.memmap(file, dtype, "r", file.tell(), shape))
