"""A study's folder: study.toml, runs/<column>/block-<k>/, table.json, index.html."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from kurabe.files import write_text_atomic
from kurabe.records.run import RunFolder

# The studies that come with the package.
SHIPPED = Path(__file__).parent.parent / "results"

_BLOCK = re.compile(r"block-(\d+)")


class StudyFolder:
    """One study's folder; its name is the folder's name."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.study_path = self.path / "study.toml"
        self.state_path = self.path / "study.json"
        self.table_path = self.path / "table.json"
        self.page_path = self.path / "index.html"

    def __repr__(self) -> str:
        return f"StudyFolder({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The study's name."""
        return self.path.resolve().name

    @property
    def exists(self) -> bool:
        """Whether a study was written here."""
        return self.study_path.is_file()

    def run(self, column: str, block: int) -> RunFolder:
        """The folder of one column's run in one block, whether or not it exists yet."""
        return RunFolder(self.path / "runs" / column / f"block-{block}")

    def runs(self) -> dict[tuple[str, int], RunFolder]:
        """All runs that were begun, by (column, block), blocks in order within a column."""
        found: dict[tuple[str, int], RunFolder] = {}
        for column in _folders(self.path / "runs"):
            for path in _folders(column):
                block = _BLOCK.fullmatch(path.name)
                if block and (path / "run.json").is_file():
                    found[column.name, int(block[1])] = RunFolder(path)
        return dict(sorted(found.items()))

    def write_table(self, table_json: str) -> None:
        """Replace table.json whole."""
        write_text_atomic(self.table_path, table_json)

    def write_page(self, html: str, language: str | None = None) -> Path:
        """Replace index.html, or index.<language>.html, whole."""
        path = self.path / f"index.{language}.html" if language else self.page_path
        write_text_atomic(path, html)
        return path


def _folders(path: Path) -> list[Path]:
    """The folders in a folder; none where it is not there. OSError where it cannot be listed, so
    that no study seems to have no runs."""
    try:
        with os.scandir(path) as entries:
            return [path / entry.name for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def find_runs(
    root: Path | str, unread: Callable[[OSError], object] | None = None
) -> Iterator[RunFolder]:
    """Every run's folder at or below root, in order of path; links are not followed.

    unread: told of each folder that cannot be listed.
    """
    for folder, below, files in os.walk(root, onerror=unread):
        below.sort()
        if "run.json" in files:
            below.clear()
            yield RunFolder(folder)
