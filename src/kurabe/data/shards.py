"""Tables and archives that hold many images: Parquet, Arrow files of `datasets`, tar files.

The column of images is the first whose content begins as an image does; labels stand in a column
of a known title (any case), in WebDataset tars in KEY.cls or the "label" of KEY.json. Members of
a tar are read into memory and never written. No mathematics.
"""

import io
import json
import lzma
import tarfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, cast

from PIL import Image, UnidentifiedImageError

from kurabe.data.decoding import ENDINGS, FORMATS, UnreadableError
from kurabe.data.entries import Entry, Listing, hidden, of_the_system
from kurabe.data.tables import LABEL_TITLES, class_names, label_text
from kurabe.errors import shown

BYTES, PATH = "bytes", "path"
TABLES = {".parquet", ".arrow"}
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
AT_ONCE, BYTES_AT_ONCE, BUFFER = 256, 16 << 20, 1 << 20
DAMAGED = (ValueError, OSError, NotImplementedError, KeyError, EOFError)
_TAR_ERRORS = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, ValueError)


def is_shard(name: str) -> bool:
    """Whether a file of that name holds many images; not what `datasets` keeps for itself."""
    path = PurePosixPath(name)
    if path.name.startswith("cache-") and path.suffix == ".arrow":
        return False
    return path.suffix.lower() in TABLES or name.lower().endswith(TARS)


def entries_of(path: Path, prefix: str, listing: Listing) -> Iterator[Entry]:
    """The images of one shard, names after `prefix`; UnreadableError says what is wrong with it."""
    if path.suffix.lower() in TABLES:
        return _rows(path, prefix, listing)
    return _members(path, prefix, listing)


def _rows(path: Path, prefix: str, listing: Listing) -> Iterator[Entry]:
    kind = "Parquet" if path.suffix.lower() == ".parquet" else "Arrow"
    begun = False
    try:
        with _opened(path) as (schema, batches):
            begun = True
            first = next(batches, None)
            if first is None:
                return
            image = _image_column(schema, first)
            label = _label_column(schema, image)
            classes = class_names(schema.metadata, label, path.with_name("dataset_info.json"))
            _say_columns(listing, schema.names, image, label)
            at = 0
            for batch in chain([first], batches):
                wanted = batch.select([image] if label is None else [image, label])
                for start in range(0, len(wanted), 16):
                    for record in wanted.slice(start, 16).to_pylist():
                        yield _row(f"{prefix}row-{at:06d}", record, image, label, classes)
                        at += 1
    except DAMAGED as error:
        if of_the_system(error):
            raise
        said = "a damaged" if begun else "not a readable"
        raise UnreadableError(f"is {said} {kind} file: {error}") from None


def _row(
    name: str, record: dict[str, Any], image: str, label: str | None, classes: dict[Any, str]
) -> Entry:
    cell = record[image]
    value = None if label is None else record[label]
    content = _bytes_in(cell) or b""
    text = label_text(classes.get(value, value))
    return Entry(name, lambda: content, text, path="", row=True, without=bool(label) and not text)


def _say_columns(listing: Listing, names: list[str], image: str, label: str | None) -> None:
    rest = [shown(name) for name in names if name not in (image, label)]
    if rest:
        filled = {"image": shown(image), "label": shown(label or "–"), "names": ", ".join(rest)}
        note = "source.columns", filled
        if note not in listing.notes:
            listing.notes.append(note)


@contextmanager
def _opened(path: Path) -> Generator[tuple[Any, Iterator[Any]]]:
    """A table's schema and its record batches."""
    import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs]

    arrow, parquet = cast(Any, pa), cast(Any, pq)
    if path.suffix.lower() == ".parquet":
        # Read as it is asked for: a row group, held whole else, may be all of the file.
        file = parquet.ParquetFile(path, buffer_size=BUFFER)
        groups = [file.metadata.row_group(k) for k in range(file.num_row_groups)]
        each = max((g.total_byte_size // max(g.num_rows, 1) for g in groups), default=0)
        yield file.schema_arrow, file.iter_batches(min(AT_ONCE, BYTES_AT_ONCE // max(each, 1)) or 1)
        return
    with arrow.memory_map(str(path)) as source:
        try:
            reader = arrow.ipc.open_stream(source)
            batches = iter(reader)
        except ValueError:
            source.seek(0)
            reader = arrow.ipc.open_file(source)
            batches = (reader.get_batch(k) for k in range(reader.num_record_batches))
        yield reader.schema, batches


def _image_column(schema: Any, batch: Any) -> str:
    """The first column of bytes whose first cell begins as an image does."""
    held = [field.name for field in schema if _holds_bytes(field.type)]
    if not held:
        columns = ", ".join(f"{shown(field.name)} ({field.type})" for field in schema)
        raise UnreadableError(f"has no column of image bytes; its columns are {columns}")
    paths, filled = list[str](), list[str]()
    for name in held:
        for cell in batch.column(name).slice(0, 16).to_pylist():
            content = _bytes_in(cell)
            if content and _is_image(content):
                return name
            if content and name not in filled:
                filled.append(name)
            elif isinstance(cell, dict) and (said := cast(dict[str, Any], cell).get(PATH)):
                paths.append(str(said))
    if not filled and paths:
        raise UnreadableError(
            f"holds paths of images ({shown(paths[0])}) and no bytes; name the folder that they "
            "lie in, or store the bytes in the file"
        )
    return next(iter(filled), held[0])


def _bytes_in(cell: Any) -> bytes | None:
    return cast(dict[str, Any], cell).get(BYTES) if isinstance(cell, dict) else cell


def _is_image(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS):
            return True
    except Image.DecompressionBombError:
        return True
    except (UnidentifiedImageError, *DAMAGED, TypeError, SyntaxError):
        return False


def _holds_bytes(kind: Any) -> bool:
    """Whether a column's type is bytes, or a struct with a member "bytes" as `datasets` writes."""
    if str(kind).startswith("struct"):
        return any(member.name == BYTES and _holds_bytes(member.type) for member in kind)
    return str(kind) in {"binary", "large_binary", "binary_view"}


def _label_column(schema: Any, image: str) -> str | None:
    """A column of a known title whose rows are one value; several classes are no label here."""
    plain = {
        field.name.lower(): field.name
        for field in schema
        if field.name != image and not str(field.type).startswith(("list", "large_list", "struct"))
    }
    return next((plain[title] for title in LABEL_TITLES if title in plain), None)


def _members(path: Path, prefix: str, listing: Listing) -> Iterator[Entry]:
    seen = set[str]()
    try:
        with tarfile.open(path) as archive:
            key, waiting, label = "", list[tuple[str, bytes]](), None
            for member in archive:
                name = member.name.removeprefix("./")
                if not member.isfile():
                    continue
                if name in seen:
                    listing.left.append((f"{prefix}{name}", "left.twice", 0))
                    continue
                seen.add(name)
                folder, _, last = name.rpartition("/")
                own, _, ending = last.partition(".")
                if (folder, own) != key:
                    yield from _grouped(waiting, label, prefix)
                    key, waiting, label = (folder, own), [], None
                if hidden(PurePosixPath(name)):
                    listing.left.append((f"{prefix}{name}", "left.hidden", 0))
                elif PurePosixPath(name).suffix.lower() in ENDINGS:
                    waiting.append((name, _content(archive, member)))
                elif ending in ("cls", "json"):
                    label = _said(_content(archive, member), ending) or label
                    listing.left.append((f"{prefix}{name}", "left.table", 0))
                else:
                    listing.left.append((f"{prefix}{name}", "left.ending", 0))
            yield from _grouped(waiting, label, prefix)
    except _TAR_ERRORS as error:
        if of_the_system(error):
            raise
        raise UnreadableError(f"is a damaged tar file ({error})") from None


def _grouped(waiting: list[tuple[str, bytes]], label: str | None, prefix: str) -> Iterator[Entry]:
    for name, content in waiting:
        yield Entry(f"{prefix}{name}", lambda content=content: content, label, name, row=True)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return b"" if file is None else file.read()


def _said(content: bytes, ending: str) -> str | None:
    """A sample's label: the text of .cls, or "label" in .json."""
    try:
        text = content.decode("utf-8-sig")
        value: Any = json.loads(text) if ending == "json" else text
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        lower = {str(k).lower(): v for k, v in cast(dict[Any, Any], value).items()}
        value = next((lower[title] for title in LABEL_TITLES if title in lower), None)
    return None if isinstance(value, (list, dict)) else label_text(value)
