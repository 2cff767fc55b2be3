"""The ledger of test openings: how often each checkpoint met the test images."""

from pathlib import Path
from typing import Any

from kurabe.records import lines
from kurabe.records.run import now


class Ledger:
    """An append-only file of openings of the test set, by checkpoint digest and data digest."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def open(self, checkpoint: str, data: str, purpose: str = "scores") -> int:
        """Record an opening before it happens; how often it was opened now, 1 the first time.

        One opening is one checkpoint, one data set and one purpose ("scores": all metrics of a
        run at once).
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        entry = {"checkpoint": checkpoint, "data": data, "purpose": purpose, "at": now()}
        lines.append(self.path, entry, durable=True)
        return self.count(checkpoint, data, purpose)

    def count(self, checkpoint: str, data: str, purpose: str = "scores") -> int:
        """How often this checkpoint met this data set's test images for this purpose."""
        wanted = {"checkpoint": checkpoint, "data": data, "purpose": purpose}
        return sum(wanted.items() <= entry.items() for entry in self.entries())

    def entries(self) -> list[dict[str, Any]]:
        """All openings, oldest first."""
        return lines.read(self.path)
