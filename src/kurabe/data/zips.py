"""The members of a zip file under the names that were meant, also from other systems.

Windows writes \\ between folders; a name that is not marked as UTF-8 is in the maker's own code
page. Members are read into memory, never written. No mathematics.
"""

import lzma
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import PurePosixPath

from kurabe.data.decoding import UnreadableError
from kurabe.data.entries import Listing, of_the_system

LARGEST = 1 << 30
MARKED_UTF8 = 0x800
# All that Python's zipfile raises for a member that is damaged, encrypted or packed unusually.
UNPACKING = (
    zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, zlib.error,
    lzma.LZMAError, ValueError,
)  # fmt: skip


def zipped(archive: zipfile.ZipFile) -> tuple[Listing, dict[str, Callable[[], bytes]]]:
    """A listing without entries, and each member's name with how to read it."""
    listing, members = Listing([]), dict[str, zipfile.ZipInfo]()
    infos = [info for info in archive.infolist() if not info.is_dir()]
    encoding = _encoding(infos)
    if encoding:
        listing.notes.append(("names.decoded", {"encoding": encoding}))
    for info in infos:
        name = _meant(info, encoding)
        if name.endswith("/"):
            continue
        if _points_outside(name):
            listing.dropped.append((name, "has a name that points outside the archive"))
        elif name in members:
            listing.left.append((name, "left.twice", 1))
        members |= {} if _points_outside(name) else {name: info}

    def reader(info: zipfile.ZipInfo) -> Callable[[], bytes]:
        return lambda: _read(archive, info)

    return listing, {name: reader(info) for name, info in members.items()}


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.file_size > LARGEST:
        raise UnreadableError(f"unpacks to more than {LARGEST >> 20} MB")
    try:
        return archive.read(info)
    except UNPACKING as error:
        if of_the_system(error):
            raise
        raise UnreadableError(f"cannot be unpacked ({error})") from None


def _encoding(infos: list[zipfile.ZipInfo]) -> str | None:
    """UTF-8 or Japanese Windows' cp932, where all unmarked names beyond ASCII can be read so."""
    raw = [
        info.filename.encode("cp437", "replace")
        for info in infos
        if not info.flag_bits & MARKED_UTF8 and not info.filename.isascii()
    ]
    for encoding in ("utf-8", "cp932") if raw else ():
        try:
            for name in raw:
                name.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return None


def _meant(info: zipfile.ZipInfo, encoding: str | None) -> str:
    name = info.filename
    if encoding and not info.flag_bits & MARKED_UTF8:
        name = name.encode("cp437", "replace").decode(encoding, "replace")
    return name.replace("\\", "/")


def _points_outside(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or bool(re.match("[A-Za-z]:", name))
