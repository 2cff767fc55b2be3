"""A SQLite index over the runs below a folder; disposable, since it is made from the folders.

An entry is renewed when its run.json changed (time to the nanosecond, or size), so a refresh
over thousands of unchanged runs reads none of them (`kurabe.records.scan`).
"""

import json
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from kurabe.errors import KurabeError
from kurabe.records.run import RunFolder
from kurabe.records.scan import Scan, Stamp

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
  path TEXT PRIMARY KEY, stamp INTEGER NOT NULL, size INTEGER NOT NULL,
  id TEXT, method TEXT, study TEXT, block INTEGER, status TEXT, started TEXT, info TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS runs_by_study ON runs (study, method, block);
CREATE INDEX IF NOT EXISTS runs_by_method ON runs (method);
"""
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

    def refresh(self) -> int:
        """Bring the index in line with the folders; how many entries changed. Idempotent."""
        found, self.studies = self._scan.look()
        with self._open() as base, base:
            rows = base.execute("SELECT path, stamp, size FROM runs")
            known = {path: (stamp, size) for path, stamp, size in rows}
            gone = known.keys() - found.keys()
            base.executemany("DELETE FROM runs WHERE path = ?", [(path,) for path in gone])
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
        with self._open() as base:
            rows = base.execute(query, tuple(where.values())).fetchall()
        return [{**json.loads(info), "path": str(self.root / path)} for path, info in rows]

    def _entry(self, path: str, stamp: Stamp) -> tuple[Any, ...]:
        try:
            info = RunFolder(self.root / path).info
        except KurabeError as error:
            info = {"id": path, "status": "unreadable", "error": str(error)}
        fields = (info.get(field) for field in _FIELDS)
        return (path, *stamp, *fields, json.dumps(info, ensure_ascii=False))

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        try:
            base = self._connect()
        except sqlite3.DatabaseError:
            self.path.unlink(missing_ok=True)
            base = self._connect()
        with closing(base):
            yield base

    def _connect(self) -> sqlite3.Connection:
        base = sqlite3.connect(self.path, timeout=30)
        try:
            base.execute("PRAGMA journal_mode = WAL")
            base.executescript(_SCHEMA)
        except sqlite3.DatabaseError:
            base.close()
            raise
        return base
