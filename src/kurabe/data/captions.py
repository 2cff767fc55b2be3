"""What is said of each image of a folder: a table called metadata, or a text beside it.

The layouts are those of the `datasets` library's imagefolder (metadata.jsonl, .csv or .parquet,
columns file_name and text) and of
kohya's trainers (image.txt beside image.png). No mathematics.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, cast

from kurabe.data.tables import LABEL_TITLES
from kurabe.errors import UserError, refusal

FILES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
FILE, TEXT = "file_name", "text"


def captions(source: str, ids: Sequence[str]) -> tuple[str, ...] | None:
    """The caption of each image, in the order of `ids`, its file's name below the folder.

    None where the source is no folder or says nothing of any image. UserError where it says
    something of a part of them alone, and where a caption file is malformed.
    """
    folder = Path(source)
    if not folder.is_dir():
        return None
    table = next((folder / name for name in FILES if (folder / name).is_file()), None)
    told: Mapping[str, str] = {} if table is None else _of_table(table)
    found = [told.get(name) or _beside(folder / name) for name in ids]
    missing = [name for name, text in zip(ids, found, strict=True) if not text]
    if len(missing) == len(ids):
        return None
    if missing:
        place = table.name if table else f"a text such as {PurePosixPath(missing[0]).stem}.txt"
        raise UserError(
            f"{source}: {len(missing)} of {len(ids)} images have no caption, {missing[0]} the "
            f"first of them; add them to {place}, or take the captions away."
        )
    return tuple(text for text in found if text)


def captions_digest(told: Sequence[str] | None, ids: Sequence[str]) -> str | None:
    """Sixteen hex digits over what is said of each image; None where nothing is."""
    if told is None:
        return None
    pairs = sorted(zip(ids, told, strict=True))
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16]


def _of_table(path: Path) -> Mapping[str, str]:
    told: dict[str, str] = {}
    for number, row in _rows(path):
        if FILE not in row or TEXT not in row:
            if FILE in row and any(title in row for title in LABEL_TITLES):
                # Labels, not captions.
                return {}
            raise UserError(
                f"{path}, line {number}: it has {', '.join(row) or 'nothing'}; captions stand in "
                f"{FILE} and {TEXT}."
            )
        name, said = row[FILE], row[TEXT]
        if not isinstance(name, str) or not isinstance(said, str):
            raise UserError(f"{path}, line {number}: {FILE} and {TEXT} must be text.")
        name = PurePosixPath(name.strip().replace("\\", "/")).as_posix()
        if told.setdefault(name, said.strip()) != said.strip():
            raise UserError(f"{path}, line {number}: {name} has two captions.")
    return told


def _rows(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    """Where each row stands, and its cells by title."""
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; save it as UTF-8.") from None
    except OSError as error:
        raise refusal(error) from None
    return _json_rows(path, text) if path.suffix == ".jsonl" else _csv_rows(text)


def _parquet_rows(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs]

    try:
        # By the file itself: a name in it of another file is not followed.
        rows: list[dict[str, Any]] = cast(Any, pq).ParquetFile(path).read().to_pylist()
    except (ValueError, OSError, NotImplementedError, KeyError):
        raise UserError(f"{path} cannot be read as Parquet.") from None
    return enumerate(rows, 1)


def _json_rows(path: Path, text: str) -> Iterable[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise UserError(f"{path}, line {number} is not JSON.") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number} is not a JSON object.")
        yield number, cast(dict[str, Any], row)


def _csv_rows(text: str) -> Iterable[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(text.splitlines(), restkey="", restval="")
    for row in reader:
        named = {title.strip().lower(): cell for title, cell in row.items() if title}
        yield reader.line_num, named


def _beside(image: Path) -> str:
    """The text beside an image, "" where there is none."""
    path = image.with_suffix(".txt")
    try:
        return path.read_bytes().decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; save it as UTF-8.") from None
    except OSError:
        return ""
