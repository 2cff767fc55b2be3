"""JSON Lines that survive being killed in mid-write: a torn last line is no line."""

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from kurabe.errors import UserError
from kurabe.files import json_bytes, naming, write_bytes_atomic

Record = dict[str, Any]
# Windows alone knows lines that end otherwise.
_BINARY = getattr(os, "O_BINARY", 0)


def encode(record: Mapping[str, Any]) -> bytes:
    """One record as one line; numbers that are not finite become null, as JSON has no word."""
    return json_bytes(_finite(dict(record)), indent=None) + b"\n"


def append(path: Path, record: Mapping[str, Any], *, durable: bool = False) -> None:
    """Add one record as the last line, in a single write.

    A torn line that a killed writer left behind is cut off first, so that it cannot swallow
    this one. With `durable` the line is on the disk when the call returns.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _BINARY, 0o644)
    try:
        with naming(path):
            _cut_torn_end(handle)
            line = encode(record)
            while line:
                line = line[os.write(handle, line) :]
            if durable:
                os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path) -> list[Record]:
    """All whole records, oldest first; none where there is no file.

    Raises UserError where a line other than a torn last one is not a JSON object.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    *whole, _torn = data.split(b"\n")
    records: list[Record] = []
    for number, line in enumerate(whole, start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise UserError(f"{path}, line {number} is not a JSON object; remove that line.")
        records.append(cast(Record, record))
    return records


def replace(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Replace the file whole by these records."""
    write_bytes_atomic(path, b"".join(encode(record) for record in records))


def _cut_torn_end(handle: int) -> None:
    size = os.fstat(handle).st_size
    end = size
    while end > 0:
        start = max(0, end - 65536)
        os.lseek(handle, start, os.SEEK_SET)
        block = os.read(handle, end - start)
        if (newline := block.rfind(b"\n")) >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(handle, end)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in cast(dict[str, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in cast(list[Any], value)]
    return value
