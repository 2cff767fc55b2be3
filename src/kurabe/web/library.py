"""What the pages show: the studies and runs below a folder, and the studies that are shipped.

A study's results are read from its folder, anew whenever one of its files changed, so that a
page is never older than the folder. Runs are found through the SQLite index, which a thread
brings in line with the folders.
"""

import hashlib
import logging
import os
import sqlite3
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from kurabe.comparison.results import StudyResults, read_results, read_settings
from kurabe.errors import KurabeError
from kurabe.files import cache_dir
from kurabe.methods import catalogue, find
from kurabe.records import SHIPPED, RunFolder, RunIndex, StudyFolder
from kurabe.records.scan import Stamp
from kurabe.web.problems import Problem, short

# Of so many studies the results are kept in memory.
_KEPT = 16
# The index is renewed after this many seconds, and never takes more than a tenth of the time.
_PAUSE = 2.0


@dataclass(frozen=True)
class Entry:
    """A study in the list: the name in addresses, its folder, and the methods that it ran.

    methods: those that its columns name, and the families whose default they are.
    """

    name: str
    folder: StudyFolder
    methods: frozenset[str]
    shipped: bool


class Library:
    """The studies and runs below `runs`, then those shipped with the package."""

    def __init__(self, runs: Path | str, shipped: Path = SHIPPED) -> None:
        self.roots = (Path(runs).resolve(), shipped.resolve())
        folder = cache_dir() / "indexes"
        self._indexes = [
            RunIndex(root, folder / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}.sqlite")
            for root in self.roots
            if root.is_dir()
        ]
        self._entries: dict[str, Entry] = {}
        self._reading = threading.Lock()
        self._results: OrderedDict[Path, tuple[Any, StudyResults]] = OrderedDict()

    def refresh(self) -> None:
        """Bring the list of studies and the index in line with the folders."""
        found: dict[str, Entry] = {}
        for index in self._indexes:
            index.refresh()
            for path, stamp in index.studies.items():
                entry = self._entry(index.root, path, stamp)
                found.setdefault(entry.name, entry)
        self._entries = found

    def watch(self, stop: threading.Event) -> None:
        """Refresh again and again until `stop` is set."""
        pause = _PAUSE
        while not stop.wait(pause):
            start = time.monotonic()
            try:
                self.refresh()
            except (OSError, sqlite3.Error):
                # A folder may vanish while it is looked at; the next look finds what is there.
                logging.getLogger("kurabe.web").warning("the index was not renewed", exc_info=True)
            pause = max(_PAUSE, 10 * (time.monotonic() - start))

    def studies(self) -> list[Entry]:
        """All studies, one's own first, by name."""
        return sorted(self._entries.values(), key=lambda entry: (entry.shipped, entry.name))

    def holding(self, methods: frozenset[str]) -> list[Entry]:
        """The studies that ran any of these methods; those that ran most of them come first."""
        fits = [entry for entry in self.studies() if entry.methods & methods]
        return sorted(fits, key=lambda entry: -len(entry.methods & methods))

    def study(self, name: str) -> StudyFolder:
        """The study of that name; Problem 404 where there is none below the folders served."""
        if entry := self._entries.get(name):
            if entry.folder.exists:
                return entry.folder
        elif folder := self._below_roots(name):
            return folder
        raise Problem(404, "problem.study", name=short(name))

    def _below_roots(self, name: str) -> StudyFolder | None:
        for root in self.roots:
            for path in (root / name, root / f"{name}-study"):
                if not _inside(path, root):
                    continue
                folder = StudyFolder(path.resolve())
                if folder.exists and (path.resolve() != root or name == root.name):
                    return folder
        return None

    def brought(self, text: str) -> str:
        """The name of the study in a folder that a reader typed, a path below the runs' folder or
        the whole one; Problem 404 for any place outside it, by links too, and where no study is.
        """
        root = self.roots[0]
        # On some systems a name of this form would ask another host.
        elsewhere = "://" in text or text.startswith(("//", "\\\\"))
        place = root / text
        if not text or elsewhere or not _inside(place, root):
            raise Problem(404, "problem.outside", name=short(text))
        path = place.resolve()
        if not StudyFolder(path).exists:
            raise Problem(404, "problem.no-study", name=short(text))
        name = root.name if path == root else path.relative_to(root).as_posix()
        return name.encode("utf-8", "backslashreplace").decode()

    def is_shipped(self, folder: StudyFolder) -> bool:
        """Whether a study came with the package."""
        return _inside(folder.path, self.roots[-1])

    def results(self, name: str) -> StudyResults:
        """The study's results as its folder holds them now."""
        folder = self.study(name)
        # Of many readers after a change one reads, and the others wait for what it made of it.
        with self._reading:
            stamp = _stamp(folder)
            kept = self._results.get(folder.path)
            if kept is not None and kept[0] == stamp:
                return kept[1]
            try:
                results = replace(read_results(folder), place=self._place(folder))
            except KurabeError as error:
                raise Problem(422, "problem.unreadable", reason=self.published(error)) from error
            # A run whose process dies changes no file.
            if all(run.status != "running" for run in results.runs.values()):
                self._results[folder.path] = (stamp, results)
                while len(self._results) > _KEPT:
                    self._results.popitem(last=False)
            return results

    def _place(self, folder: StudyFolder) -> str:
        """How a command names a study: from the folder that is served, or by its name."""
        root = next(root for root in self.roots if _inside(folder.path, root))
        name = root.name if folder.path == root else folder.path.relative_to(root).as_posix()
        return name.encode("utf-8", "backslashreplace").decode()

    def runs(self, **where: Any) -> list[dict[str, Any]]:
        """The run.json of the runs whose fields are these, newest first, each with its `path`."""
        return [info for index in self._indexes for info in index.runs(**where)]

    def published(self, text: object) -> str:
        """A text for readers: where this machine keeps the folders served is left out of it."""
        said = str(text)
        for root in self.roots:
            said = said.replace(f"{root}/", "").replace(str(root), root.name)
        return said

    def run(self, key: str, study: str | None = None) -> RunFolder:
        """The run of that id, or in that folder below a root.

        Of several with one id (a recipe and seed that were run twice), the one in `study`, else
        the newest.
        """
        found = [RunFolder(info["path"]) for info in self.runs(id=key)]
        found = [folder for folder in found if folder.exists]
        if found:
            wanted = self.study(study).path if study else None
            inside = (run for run in found if wanted and run.path.is_relative_to(wanted))
            return next(inside, found[0])
        for root in self.roots:
            folder = RunFolder(root / key)
            if _inside(folder.path, root) and folder.exists:
                return folder
        raise Problem(404, "problem.run", name=short(key))

    def study_of(self, run: RunFolder) -> str | None:
        """The name of the study that a run belongs to."""
        fits = (e.name for e in self.studies() if run.path.is_relative_to(e.folder.path))
        return next(fits, None)

    def sample_file(self, folder: Path, file: str) -> Path:
        """The sample grid `file` below `folder`; Problem 404 for anything else."""
        path = folder / file
        inside = _inside(path, folder) and any(_inside(path, root) for root in self.roots)
        if not inside or path.parent.name != "samples" or path.suffix != ".png":
            raise Problem(404, "problem.image")
        return path

    def _entry(self, root: Path, path: str, stamp: Stamp) -> Entry:
        folder = StudyFolder(root / path)
        # An address is UTF-8; a name that is not stands in it with its bytes escaped.
        name = (root.name if path == "." else path).encode("utf-8", "backslashreplace").decode()
        return Entry(name, folder, _methods(folder.path, stamp), root == self.roots[-1])


@lru_cache(maxsize=1024)
def _methods(path: Path, stamp: Stamp) -> frozenset[str]:
    """The methods that study.toml names, as it stands at that stamp."""
    try:
        settings = read_settings(StudyFolder(path))
        named = (column.method for column in (*settings.columns, *getattr(settings, "outside", ())))
        ran = {find(method).id for method in named if method}
    except KurabeError:
        return frozenset()
    return frozenset(m.id for m in catalogue().values() if m.id in ran or m.default in ran)


def _inside(path: Path, root: Path) -> bool:
    """Whether a path leads below root; no path that the system could not take does."""
    try:
        if len(os.fsencode(path.name)) > 255 or len(str(path)) > 4000:
            return False
        return path.resolve().is_relative_to(root)
    except (OSError, ValueError, RuntimeError):
        # Before Python 3.13 pathlib tells of links that lead around by a RuntimeError.
        return False


def _stamp(folder: StudyFolder) -> tuple[tuple[str, int, int, int], ...]:
    """Time, size and number of every file that the results are read from."""
    found = [_stamp_of(str(folder.study_path))]
    for column in _folders(folder.path / "runs"):
        for block in _folders(column):
            found += [_stamp_of(f"{block}/{file}") for file in _READ]
    return tuple(sorted(found))


# What is read of a run, and the folder whose time tells of new sample grids.
_READ = ("run.json", "scores/scores.json", "samples")


def _folders(path: Path | str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir()]
    except OSError:
        return []


def _stamp_of(path: str) -> tuple[str, int, int, int]:
    try:
        stat = os.stat(path)  # noqa: PTH116
    except OSError:
        return path, 0, 0, 0
    return path, stat.st_mtime_ns, stat.st_size, stat.st_ino
