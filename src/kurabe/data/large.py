"""Pixels that are too many for memory: read from a file where they are used.

An array of more than IN_MEMORY bytes is mapped into memory from its place on disk, read-only; the
system keeps of it what is in use and what there is room for. What comes to be so large on the way
lies in a nameless file in the cache's folder, which goes with the array. No mathematics.
"""

import mmap
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from kurabe.files import cache_dir

IN_MEMORY = 64 << 20
# Bytes that are looked at together.
AT_ONCE = 16 << 20
# A zip file's local header: its fixed length, and where the lengths of name and extra field stand.
_HEADER, _LENGTHS = 30, slice(26, 30)
Number = TypeVar("Number", bound=np.generic)


def parts(count: int, each: int) -> Iterator[slice]:
    """Slices that cover range(count), of rows of `each` bytes; AT_ONCE bytes, or one row, each."""
    rows = max(AT_ONCE // max(each, 1), 1)
    return (slice(at, min(at + rows, count)) for at in range(0, count, rows))


def in_parts(rows: NDArray[Number]) -> Iterator[NDArray[Number]]:
    """All rows, AT_ONCE bytes at a time; what lies on disk takes memory for one part only."""
    for part in parts(len(rows), rows[:1].nbytes):
        yield rows[part]
        let_go(rows)


def let_go(*arrays: NDArray[np.generic]) -> None:
    """Keep nothing in memory of arrays on disk; they are read again where they are used.

    Without effect on others, and on systems that have no such advice.
    """
    advice = getattr(mmap, "MADV_DONTNEED", None)
    for array in arrays:
        beneath: Any = array
        while isinstance(beneath, np.ndarray):
            beneath = beneath.base
        if isinstance(beneath, mmap.mmap) and advice is not None:
            beneath.madvise(advice)


class Growing(Generic[Number]):
    """Rows of one shape that come one after another, beyond IN_MEMORY bytes in a nameless file.

    shared: among how many that grow at once these bytes are shared out.

    A full or read-only disk costs memory, never the rows. Windows lets no open file go, so rows
    stay in memory there.
    """

    def __init__(self, shape: tuple[int, ...], dtype: type[Number], shared: int = 1) -> None:
        self._in_memory = IN_MEMORY // shared
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._held = list[NDArray[Number]]()
        self._bytes: int = 0
        self._file: FileIO | None = None
        self._stored, self._may_store = 0, sys.platform != "win32"

    def append(self, rows: NDArray[Number]) -> None:
        """Add rows (n, *shape), which are not changed afterwards."""
        self._held.append(rows)
        self._bytes += int(rows.nbytes)
        if self._bytes > (min(AT_ONCE, self._in_memory) if self._stored else self._in_memory):
            self._store()

    def array(self) -> NDArray[Number]:
        """All rows so far, (N, *shape); more may come."""
        if self._stored:
            self._store()
        if not self._held:
            return self._mapped() if self._stored else np.zeros((0, *self._shape), self._dtype)
        if self._stored or len(self._held) > 1:
            stored = [self._mapped()] if self._stored else []
            self._held = [np.concatenate([*stored, *self._held])]
            self._bytes, self._stored, self._file = int(self._held[0].nbytes), 0, None
        return np.ascontiguousarray(self._held[0])

    def __del__(self) -> None:
        # What is mapped stays so without the file.
        if self._file is not None:
            self._file.close()

    def _mapped(self) -> NDArray[Number]:
        shape = (self._stored, *self._shape)
        return np.asarray(np.memmap(cast(Any, self._file), self._dtype, "r", shape=shape))

    def _store(self) -> None:
        """Write what is held to the file; it stays held where the disk refuses."""
        written = 0
        try:
            while self._may_store and written < len(self._held):
                if self._file is None:
                    cache_dir().mkdir(parents=True, exist_ok=True)
                    self._file = tempfile.TemporaryFile(dir=cache_dir(), buffering=0)  # noqa: SIM115
                rows = np.ascontiguousarray(self._held[written])
                left = rows.reshape(-1).view(np.uint8).data
                while len(left):
                    left = left[self._file.write(left) :]
                self._stored += len(rows)
                self._bytes -= int(rows.nbytes)
                written += 1
        except OSError:
            self._may_store = False
        del self._held[:written]


def each_part(
    rows: NDArray[np.uint8], change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """What `change` makes of all rows, part after part; on disk where it is much."""
    shape = change(rows[:1]).shape[1:]
    changed = Growing(shape, np.uint8)
    for part in in_parts(rows):
        changed.append(change(part))
    return changed.array()


def taken(pixels: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.uint8]:
    """pixels[places]; where these are many, in a nameless file that goes with the array."""
    found = Growing(pixels.shape[1:], np.uint8)
    for part in parts(len(places), pixels[:1].nbytes):
        found.append(pixels[places[part]])
        let_go(pixels)
    return found.array()


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
