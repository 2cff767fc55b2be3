"""Tables of labels as people and their tools write them: CSV, JSON lines, Parquet.

Which column names the file and which the label is looked up in the heading, or follows from there
being two columns of which one holds names of images; else the table is refused with its columns
named. Nothing is guessed. No mathematics.
"""

import csv
import io
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from kurabe.data.decoding import ENDINGS
from kurabe.errors import UserError, shown

LABELS = "labels.csv"
# As `datasets` has them (imagefolder): beside the images, names in file_name.
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
LABEL_TITLES = ("label", "labels", "class", "category", "ラベル", "クラス", "分類")
FILE_TITLES = (
    "file_name", "filename", "file", "file_path", "filepath", "path", "image_path", "image_file",
    "image", "img", "ファイル名", "ファイル", "画像",
)  # fmt: skip
NO_LABEL = ("", "-1")  # what datasets write where an image has no label
DELIMITERS = ",\t;"
LONGEST = 80

Row = tuple[int, list[str]]


class OnlyCaptions(UserError):
    """A table that says what images show, and gives no labels; see `kurabe.data.captions`."""


@dataclass(frozen=True)
class Table:
    """name: the table's own, as shown. rows: name of a file → its label or None. columns: what
    was taken for the file's and the label's; unused: the others. required: whether the user named
    it, so that what does not fit is an error. without: rows of which the label is empty or −1."""

    name: str
    rows: dict[str, str | None]
    columns: tuple[str, str]
    unused: tuple[str, ...] = ()
    required: bool = True
    without: int = 0


def read_table(content: bytes, name: str) -> Table:
    """The table in a file of that name; UserError for what is none, has no column of files or of
    labels, or gives a file two labels."""
    place = PurePosixPath(name)
    required = place.name.lower() not in METADATA
    source = shown(name)
    if place.suffix.lower() == ".jsonl":
        titles, rows = _json_lines(content, source)
    elif place.suffix.lower() == ".parquet":
        titles, rows = _parquet(content, source)
    else:
        return _of_csv(_csv(content, source), source, required)
    return _titled([title.lower() for title in titles], titles, rows, source, required)


def _of_csv(rows: list[Row], source: str, required: bool) -> Table:
    if not rows:
        raise UserError(f"{source} is empty; write a row file,label for each image.")
    number, first = rows[0]
    titles = [cell.strip().lower() for cell in first]
    if any(title in (*LABEL_TITLES, *FILE_TITLES) for title in titles):
        return _titled(titles, first, rows[1:], source, required)
    if len(first) < 2:
        raise UserError(
            f'{source}, line {number}: expected "file,label", found "{shown(first[0])[:LONGEST]}".'
        )
    if len(first) > 2:
        raise UserError(_unknown(source, first))
    file = _of_names(rows, 2) or 0
    ending = [_is_image(row[file]) for _, row in rows if len(row) == 2]
    headed = not ending[0] and any(ending[1:])
    columns = f"column {file + 1}", f"column {2 - file}"
    if headed:
        columns = first[file].strip(), first[1 - file].strip()
    return _filled(rows[headed:], file, 1 - file, columns, (), source, required)


def _titled(
    titles: list[str], heading: Sequence[str], rows: list[Row], source: str, required: bool
) -> Table:
    """A table of which the heading says at least one of its columns."""
    label = next((titles.index(t) for t in LABEL_TITLES if t in titles), None)
    file = next((titles.index(t) for t in FILE_TITLES if t in titles), None)
    two = len(titles) == 2
    if label is None and required and two and file is not None:
        label = 1 - file
    if file is None and label is not None:
        file = 1 - label if two else _of_names(rows, len(titles))
    if label is None or file is None:
        captions = not required and {"file_name", "text"} <= set(titles)
        raise (OnlyCaptions if captions else UserError)(_unknown(source, heading))
    unused = tuple(
        shown(title.strip()) or f"column {k + 1}"
        for k, title in enumerate(heading)
        if k not in (label, file)
    )
    columns = heading[file].strip(), heading[label].strip()
    return _filled(rows, file, label, columns, unused, source, required)


def _filled(
    rows: list[Row],
    file: int,
    label: int,
    columns: tuple[str, str],
    unused: tuple[str, ...],
    source: str,
    required: bool,
) -> Table:
    found = dict[str, str | None]()
    width = 2 + len(unused)
    for number, row in rows:
        if len(row) <= max(file, label) or any(cell.strip() for cell in row[width:]):
            found_there = shown(",".join(row))[:LONGEST]
            raise UserError(
                f'{source}, line {number}: expected "file,label", found "{found_there}".'
            )
        name = PurePosixPath(row[file].strip().replace("\\", "/")).as_posix()
        if name == ".":
            raise UserError(f"{source}, line {number} names no file.")
        text = row[label].strip()
        value = None if text in NO_LABEL else as_label(text)
        if found.setdefault(name, value) != value:
            raise UserError(f"{source}, line {number}: {shown(name)} has two labels.")
    without = sum(value is None for value in found.values())
    return Table(source, found, (shown(columns[0]), shown(columns[1])), unused, required, without)


def _of_names(rows: list[Row], width: int) -> int | None:
    """The one column that holds names of images; None where none or several do."""
    counts = [sum(_is_image(row[k]) for _, row in rows if len(row) > k) for k in range(width)]
    holding = [k for k, count in enumerate(counts) if count]
    return holding[0] if len(holding) == 1 else None


def _is_image(cell: str) -> bool:
    return PurePosixPath(cell.strip().replace("\\", "/")).suffix.lower() in ENDINGS


def _unknown(source: str, heading: Sequence[str]) -> str:
    named = ", ".join(f'"{shown(cell.strip())}"' for cell in heading)
    return (
        f"{source} has the columns {named}, and which of them is the file's and which the label's "
        'is not known; head them "file" and "label".'
    )


def _csv(content: bytes, source: str) -> list[Row]:
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{source} is not UTF-8 text; save it as CSV in UTF-8.") from None
    read = [_delimited(text, sign, source) for sign in DELIMITERS]

    def regular(rows: list[Row]) -> tuple[bool, bool]:
        widths = {len(row) for _, row in rows}
        titles = [cell.strip().lower() for cell in rows[0][1]] if rows else []
        known = any(title in (*LABEL_TITLES, *FILE_TITLES) for title in titles)
        return len(titles) > 1 and known, len(widths) == 1 and len(titles) > 1

    return max(read, key=regular)


def _delimited(text: str, sign: str, source: str) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=sign)
    rows = list[Row]()
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((reader.line_num, row))
    except csv.Error as error:
        raise UserError(f"{source}, line {reader.line_num}: {error}.") from None
    return rows


def _json_lines(content: bytes, source: str) -> tuple[list[str], list[Row]]:
    records = list[tuple[int, dict[str, Any]]]()
    try:
        for number, line in enumerate(content.decode("utf-8-sig").split("\n"), 1):
            if not line.strip():
                continue
            value: Any = json.loads(line)
            if not isinstance(value, dict):
                raise UserError(f"{source}, line {number} is no JSON object.")
            records.append((number, cast(dict[str, Any], value)))
    except UnicodeDecodeError:
        raise UserError(f"{source} is not UTF-8 text; save it in UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source} is not JSON lines: {error}.") from None
    titles = list(dict.fromkeys(str(title) for _, record in records for title in record))
    return titles, [(n, [_text(record.get(t)) for t in titles]) for n, record in records]


def _parquet(content: bytes, source: str) -> tuple[list[str], list[Row]]:
    import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs]

    arrow, parquet = cast(Any, pa), cast(Any, pq)
    try:
        table: Any = parquet.read_table(arrow.BufferReader(content))
        records: list[dict[str, Any]] = table.to_pylist()
    except (ValueError, OSError, NotImplementedError, KeyError) as error:
        raise UserError(f"{source} is not a readable Parquet file: {error}.") from None
    titles: list[str] = table.schema.names
    label = next((t for t in titles if t.lower() in LABEL_TITLES), None)
    classes = class_names(table.schema.metadata, label)
    rows = list[Row]()
    for number, record in enumerate(records, 1):
        if label is not None:
            record[label] = classes.get(record[label], record[label])
        rows.append((number, [_text(record[title]) for title in titles]))
    return titles, rows


def class_names(
    metadata: dict[bytes, bytes] | None, label: str | None, beside: Path | None = None
) -> dict[Any, str]:
    """The names of whole-number labels where the `datasets` library left them: in a file's own
    metadata, else in the dataset_info.json that `save_to_disk` writes beside it."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        named: list[str] = features[label]["names"]
        return dict(enumerate(named))
    except (KeyError, TypeError, ValueError):
        pass
    try:
        saved: list[str] = json.loads((beside or Path()).read_bytes())["features"][label]["names"]
        return dict(enumerate(saved))
    except (OSError, KeyError, TypeError, ValueError, RecursionError):
        return {}


def label_text(value: Any) -> str | None:
    """A label's cell as text; None for what stands for none: null, NaN, empty, −1."""
    text = _text(value).strip()
    return None if text in NO_LABEL or value != value else as_label(text)


def as_label(text: str) -> str:
    """A label as it is kept: safe to show, in Unicode's form NFC, so that one class is one."""
    return unicodedata.normalize("NFC", shown(text))


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)
