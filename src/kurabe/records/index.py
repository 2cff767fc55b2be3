"""A SQLite index over the runs below a folder; disposable, since it is made from the folders.

An entry is renewed when its run.json changed (time to the nanosecond, or size), so a refresh
over thousands of unchanged runs reads none of them (`kurabe.records.scan`).
"""

import json
import os
import sqlite3
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from kurabe.errors import KurabeError
from kurabe.records.run import RunFolder
from kurabe.records.scan import Scan, Stamp

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
  path BLOB PRIMARY KEY, stamp INTEGER NOT NULL, size INTEGER NOT NULL,
  id TEXT, method TEXT, study TEXT, block INTEGER, status TEXT, started TEXT, info TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS runs_by_study ON runs (study, method, block);
CREATE INDEX IF NOT EXISTS runs_by_method ON runs (method);
"""
# Of another layout, an index is made anew. Paths are bytes, as file names are.
_LAYOUT = 2
_FIELDS = ("id", "method", "study", "block", "status", "started")


class RunIndex:
    """The index of the runs below `root`, in a file that may be deleted at any time.

    studies: the studies that the last refresh met, by path below root, with study.toml's stamp.
    """

    def __init__(self, root: Path | str, path: Path | str | None = None) -> None:
        self.root = Path(root)
        self.path = Path(path) if path is not None else self.root / ".index.sqlite"
        self.studies: dict[str, Stamp] = {}
        self._scan = Scan(self.root)
        self._memory: sqlite3.Connection | None = None
        self._turn = threading.RLock()

    def refresh(self) -> int:
        """Bring the index in line with the folders; how many entries changed. Idempotent.

        Where its file cannot be written, the index is kept in memory from then on.
        """
        found, self.studies = self._scan.look()
        try:
            return self._renew(found)
        except (OSError, sqlite3.Error):
            if self._memory is not None:
                raise
            self._memory = self._prepared(":memory:")
            return self._renew(found)

    def _renew(self, found: dict[str, Stamp]) -> int:
        with self._open() as base, base:
            rows = base.execute("SELECT path, stamp, size FROM runs")
            known = {os.fsdecode(path): (stamp, size) for path, stamp, size in rows}
            gone = known.keys() - found.keys()
            lost = [(os.fsencode(path),) for path in gone]
            base.executemany("DELETE FROM runs WHERE path = ?", lost)
            changed = [path for path, stamp in found.items() if known.get(path) != stamp]
            entries = [self._entry(path, found[path]) for path in changed]
            places = ", ".join("?" * 10)
            base.executemany(f"INSERT OR REPLACE INTO runs VALUES ({places})", entries)
        return len(gone) + len(changed)

    def runs(self, **where: Any) -> list[dict[str, Any]]:
        """The run.json of every run whose fields are these, newest first, with its `path`.

        Fields: id, method, study, block, status. A folder that cannot be read stands with
        status "unreadable" and its problem as `error`.
        """
        if unknown := where.keys() - set(_FIELDS):
            raise ValueError(f"runs cannot be looked up by {', '.join(sorted(unknown))}")
        clause = " AND ".join(f"{field} IS ?" for field in where) or "1"
        query = f"SELECT path, info FROM runs WHERE {clause} ORDER BY started DESC, path"
        try:
            with self._open() as base:
                rows = base.execute(query, tuple(where.values())).fetchall()
        except (OSError, sqlite3.Error):
            if self._memory is not None:
                raise
            # As in `refresh`: what the file no longer gives, the folders do.
            self._memory = self._prepared(":memory:")
            self.refresh()
            return self.runs(**where)
        return [
            {**json.loads(info), "path": str(self.root / os.fsdecode(path))} for path, info in rows
        ]

    def _entry(self, path: str, stamp: Stamp) -> tuple[Any, ...]:
        try:
            info = RunFolder(self.root / path).info
        except KurabeError as error:
            shown = path.encode("utf-8", "backslashreplace").decode()
            info = {"id": shown, "status": "unreadable", "error": str(error)}
        # A field whose text is not UTF-8 is found by no one, and shown all the same.
        fields = (_stored(info.get(field)) for field in _FIELDS)
        return (os.fsencode(path), *stamp, *fields, json.dumps(info))

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        if self._memory is not None:
            with self._turn:
                yield self._memory
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            base = self._prepared(self.path)
        except sqlite3.OperationalError:
            # A closed place or a long wait says nothing against the file.
            raise
        except sqlite3.DatabaseError:
            self.path.unlink(missing_ok=True)
            base = self._prepared(self.path)
        with closing(base):
            yield base

    @staticmethod
    def _prepared(path: Path | str) -> sqlite3.Connection:
        base = sqlite3.connect(path, timeout=30, check_same_thread=False)
        try:
            base.execute("PRAGMA journal_mode = WAL")
            if base.execute("PRAGMA user_version").fetchone()[0] != _LAYOUT:
                base.execute("DROP TABLE IF EXISTS runs")
                base.execute(f"PRAGMA user_version = {_LAYOUT}")
            base.executescript(_SCHEMA)
        except sqlite3.DatabaseError:
            base.close()
            raise
        return base


def _stored(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
