"""Reading the members of folders, zip files and wheels, tar files and Debian packages.

Members are read into memory and never written under their own names, so a name such as
`../../x` in an archive cannot reach any file. No mathematics.
"""

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

AR_HEADER = 60


def read_members(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the wanted regular files of a folder, .zip, .whl, .tgz or .deb.

    Raises ValueError where the archive is damaged or of a kind not known.
    """
    try:
        if path.is_dir():
            yield from _folder(path, wanted)
        elif path.suffix in {".zip", ".whl"}:
            yield from _zip(path, wanted)
        elif path.suffix in {".tgz", ".gz"}:
            with tarfile.open(path, "r|gz") as archive:
                yield from _tar(archive, wanted)
        elif path.suffix == ".deb":
            with tarfile.open(fileobj=io.BytesIO(_deb_data(path))) as archive:
                yield from _tar(archive, wanted)
        else:
            raise ValueError(f"{path.name} is not an archive of a known kind")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise ValueError(f"{path.name} is damaged: {error}") from None


def _folder(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if wanted(name) and file.is_file():
            yield name, file.read_bytes()


def _zip(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if wanted(member.filename) and not member.is_dir():
                yield member.filename, archive.read(member)


def _tar(archive: tarfile.TarFile, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        content = archive.extractfile(member) if member.isfile() and wanted(member.name) else None
        if content is not None:
            yield member.name, content.read()


def _deb_data(path: Path) -> bytes:
    """The data member of a Debian package, an `ar` archive (deb(5))."""
    content = path.read_bytes()
    if not content.startswith(b"!<arch>\n"):
        raise ValueError(f"{path.name} is not a Debian package")
    position = len(b"!<arch>\n")
    while position + AR_HEADER <= len(content):
        header = content[position : position + AR_HEADER]
        size = int(header[48:58])
        position += AR_HEADER
        if header.startswith(b"data.tar"):
            return content[position : position + size]
        position += size + size % 2
    raise ValueError(f"{path.name} holds no data")
