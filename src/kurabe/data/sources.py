"""Where a user's images lie: the files of a folder, of a zip file, the rows of a Parquet file.

Files of an archive are read into memory and never written under their own names. Order is by
name, so the same files always give the same set. No mathematics.
"""

import csv
import hashlib
import json
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from kurabe.data.decoding import ENDINGS, UnreadableError
from kurabe.errors import UserError

LARGEST = 1 << 30
LABELS = "labels.csv"
LABEL_TITLES = ("label", "labels", "class", "category")
# All that Python's zipfile raises for a member that is damaged, encrypted or packed unusually.
_UNPACKING = (
    zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, zlib.error,
    lzma.LZMAError,
)  # fmt: skip
BYTES = "bytes"


@dataclass(frozen=True)
class Entry:
    """One candidate: its name in the source, how to read its bytes, its label if the source
    itself (a Parquet column) gives one. `read` raises UnreadableError or OSError."""

    name: str
    read: Callable[[], bytes]
    label: str | None = None


@dataclass
class Listing:
    """What a source holds; `entries` may be walked once."""

    entries: Iterable[Entry]
    ignored: int = 0
    dropped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    labels: dict[str, str] = field(default_factory=dict[str, str])


@contextmanager
def opened(path: Path) -> Generator[Listing]:
    """The listing of a folder, .zip or .parquet file, with a labels.csv at its top read.

    Raises UserError for what does not exist, cannot be read or is of another kind.
    """
    try:
        if path.is_dir():
            _refuse_records(path)
            yield _folder(path)
        elif not path.exists():
            raise UserError(f"{path} does not exist, and no known set has that name.")
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield _zip(archive)
        elif path.suffix == ".parquet":
            yield _parquet(path)
        else:
            raise UserError(f"{path} is neither a folder nor a readable .zip or .parquet file.")
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is a damaged zip file: {error}.") from None
    except UnreadableError as error:
        raise UserError(f"{path}: {LABELS} {error}.") from None
    except PermissionError as error:
        raise UserError(f"{error.filename or path} may not be read: {error.strerror}.") from None


def fingerprint(path: Path) -> str:
    """Hex digits that change when a file of the source does: names, sizes, times of change."""
    files = [path]
    if path.is_dir():
        files = sorted(Path(top) / name for top, names in _walked(path) for name in names)
    digest = hashlib.sha256()
    for file in files:
        try:
            state = file.stat()
        except OSError:
            continue
        digest.update(f"{file}\0{state.st_size}\0{state.st_mtime_ns}\0{state.st_mode}\0".encode())
    return digest.hexdigest()


def read_labels(content: bytes, source: str) -> dict[str, str]:
    """The rows of a labels.csv: file,label with or without a heading. UserError where it is not
    UTF-8 text, has no two columns or gives a file two labels."""
    labels = dict[str, str]()
    column = 1
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{source} is not UTF-8 text; save it as CSV in UTF-8.") from None
    for number, row in enumerate(csv.reader(lines), 1):
        if not row:
            continue
        titles = [cell.strip().lower() for cell in row]
        if number == 1 and (known := [n for n in LABEL_TITLES if n in titles[1:]]):
            column = titles.index(known[0], 1)
            continue
        if len(row) <= column:
            raise UserError(f'{source}, line {number}: expected "file,label", found "{row[0]}".')
        name = PurePosixPath(row[0].strip().replace("\\", "/")).as_posix()
        label = row[column].strip()
        if labels.setdefault(name, label) != label:
            raise UserError(f"{source}, line {number}: {name} has two labels.")
    return labels


def _walked(
    path: Path, onerror: Callable[[OSError], None] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Folders and their files, below none that is hidden, a run's or a study's: the samples of
    runs are no images to train on."""
    for top, folders, files in os.walk(path, onerror=onerror):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and not _is_record(Path(top) / name)
        )
        yield top, files


def _is_record(folder: Path) -> bool:
    """Whether a folder is a run's or a study's; one that may not be entered is none."""
    pairs = ("run.json", "recipe.toml"), ("study.json", "study.toml")
    try:
        return any(all((folder / name).is_file() for name in pair) for pair in pairs)
    except OSError:
        return False


def _refuse_records(path: Path) -> None:
    whole = path.resolve()
    for folder in (whole, *whole.parents):
        if _is_record(folder):
            raise UserError(
                f"{path} lies in {folder}, the folder of a run or a study, whose pictures are "
                "what was drawn; name a folder of images."
            )


def _folder(path: Path) -> Listing:
    listing, names = Listing([]), list[str]()

    def unreadable(error: OSError) -> None:
        where = Path(error.filename)
        if where == path:
            raise UserError(f"{path} may not be read: {error.strerror}.")
        listing.dropped.append((f"{where.relative_to(path).as_posix()}/", "may not be read"))

    for top, files in _walked(path, unreadable):
        inside = Path(top).relative_to(path)
        names += [(inside / name).as_posix() for name in files]
    _choose(listing, names, lambda name: Entry(name, lambda: _read_file(path / name)))
    if (path / LABELS).is_file():
        listing.labels = read_labels((path / LABELS).read_bytes(), str(path / LABELS))
    return listing


def _read_file(path: Path) -> bytes:
    if path.stat().st_size > LARGEST:
        raise UnreadableError(f"is larger than {LARGEST >> 20} MB")
    return path.read_bytes()


def _zip(archive: zipfile.ZipFile) -> Listing:
    members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    listing = Listing([])

    def read(name: str) -> bytes:
        info = members[name]
        if info.file_size > LARGEST:
            raise UnreadableError(f"unpacks to more than {LARGEST >> 20} MB")
        try:
            return archive.read(info)
        except _UNPACKING as error:
            raise UnreadableError(f"cannot be unpacked ({error})") from None

    labels = _labels_in(members)
    outside = [name for name in members if _points_outside(name)]
    listing.dropped += [(name, "has a name that points outside the archive") for name in outside]
    inside = [name for name in members if name not in set(outside)]
    _choose(listing, inside, lambda name: Entry(name, lambda: read(name)), labels)
    if labels in members:
        top = PurePosixPath(labels).parent
        rows = read_labels(read(labels), labels)
        listing.labels = {(top / name).as_posix(): label for name, label in rows.items()}
    return listing


def _labels_in(names: Iterable[str]) -> str:
    """Where an archive keeps its labels: at its top, or in the one folder that holds all."""
    tops = {path.parts[0] for path in map(PurePosixPath, names) if not _hidden(path)}
    inside = f"{tops.pop()}/{LABELS}" if len(tops) == 1 else LABELS
    return inside if inside in names else LABELS


def _points_outside(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or bool(re.match("[A-Za-z]:", name))


def _choose(
    listing: Listing, names: list[str], entry: Callable[[str], Entry], labels: str = LABELS
) -> None:
    """Keep what has an image's ending; hidden files and macOS's own are not even counted."""
    seen = [name for name in names if not _hidden(PurePosixPath(name))]
    images = sorted(name for name in seen if PurePosixPath(name).suffix.lower() in ENDINGS)
    listing.ignored = len(seen) - len(images) - (labels in seen)
    listing.entries = [entry(name) for name in images]


def _hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _parquet(path: Path) -> Listing:
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs]

    try:
        file: Any = pq.ParquetFile(path)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is not a readable Parquet file: {error}.") from None
    image: str | None = next((f.name for f in file.schema_arrow if _holds_bytes(f.type)), None)
    if image is None:
        raise UserError(f"{path} has no column of image bytes.")
    titles = file.schema_arrow.names
    label = next((n for n in LABEL_TITLES if n in titles and _is_one(file, n)), None)
    names = _class_names(file.schema_arrow.metadata, label)
    nested = str(file.schema_arrow.field(image).type).startswith("struct")
    columns = [image] if label is None else [image, label]

    def entries() -> Iterator[Entry]:
        records = (r for b in file.iter_batches(256, columns=columns) for r in b.to_pylist())
        try:
            for row, record in enumerate(records):
                cell, value = record[image], record.get(label)
                content: bytes = (cell[BYTES] if nested and cell else cell) or b""
                text = None if value is None else names.get(value, str(value))
                yield Entry(f"row-{row:06d}", lambda content=content: content, text)
        except (ValueError, OSError) as error:
            raise UserError(f"{path} is a damaged Parquet file: {error}.") from None

    return Listing(entries())


def _is_one(file: Any, column: str) -> bool:
    """Whether a row of that column is one value; several classes an image are no label here."""
    return not str(file.schema_arrow.field(column).type).startswith(
        ("list", "large_list", "struct")
    )


def _holds_bytes(kind: Any) -> bool:
    """Whether a column's type is bytes, or a struct with a member "bytes" as `datasets` writes."""
    if str(kind).startswith("struct"):
        return any(member.name == BYTES and _holds_bytes(member.type) for member in kind)
    return str(kind) in {"binary", "large_binary", "binary_view"}


def _class_names(metadata: dict[bytes, bytes] | None, label: str | None) -> dict[Any, str]:
    """The names of whole-number labels where the `datasets` library left them in the file."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        named: list[str] = features[label]["names"]
        return dict(enumerate(named))
    except (KeyError, TypeError, ValueError):
        return {}
