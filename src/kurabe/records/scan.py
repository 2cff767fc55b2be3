"""The runs and studies below a folder, found again at the cost of what changed.

A folder that gains or loses an entry changes its own time, so only such folders are listed anew;
of a known run only run.json is looked at. What thousands of runs cost is one stat each.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

# Time to the nanosecond, and size, of a file.
Stamp = tuple[int, int]

# Two changes may share a folder's time where clocks tick slowly: so recent a time proves nothing.
_SETTLED_NS = 2 * 10**9


@dataclass(frozen=True)
class _Listing:
    """A folder as it was listed: its time, whether that is settled, what is in it."""

    changed: int
    settled: bool
    run: bool
    study: bool
    below: tuple[str, ...]


class Scan:
    """What lies below `root`; links are not followed."""

    def __init__(self, root: Path | str) -> None:
        self._place = str(root)
        self._listings: dict[str, _Listing] = {}

    def look(self) -> tuple[dict[str, Stamp], dict[str, Stamp]]:
        """The runs and the studies by their path below root, with the stamp of what makes them one.

        In order of path. A run holds no other run, a study no other study; studies in hidden
        folders are not listed.
        """
        runs: dict[str, Stamp] = {}
        studies: dict[str, Stamp] = {}
        known, self._listings = self._listings, {}
        # Folders still to be looked at, the next one last; whether a study in them counts.
        waiting = [(".", True)]
        while waiting:
            path, counts = waiting.pop()
            before = known.get(path)
            stamp = self._stamp(path, "run.json") if before and before.run else None
            listing = before if before and stamp else self._listed(path, before)
            if listing is None:
                continue
            self._listings[path] = listing
            if listing.study and counts and (made := self._stamp(path, "study.toml")):
                studies[path] = made
            if listing.run:
                if stamp := stamp or self._stamp(path, "run.json"):
                    runs[path] = stamp
                continue
            counts = counts and not listing.study
            start = "" if path == "." else f"{path}/"
            waiting += [
                (start + name, counts and not name.startswith("."))
                for name in reversed(listing.below)
            ]
        return runs, studies

    def _listed(self, path: str, known: _Listing | None) -> _Listing | None:
        """The folder's listing, the known one where it holds; None where the folder is gone."""
        place = f"{self._place}/{path}"
        try:
            changed = os.stat(place).st_mtime_ns  # noqa: PTH116
            if known and known.settled and known.changed == changed:
                return known
            with os.scandir(place) as entries:
                found = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        except OSError:
            return None
        return _Listing(
            changed,
            time.time_ns() - changed > _SETTLED_NS,
            found.get("run.json") is False,
            found.get("study.toml") is False,
            tuple(sorted(name for name, is_folder in found.items() if is_folder)),
        )

    def _stamp(self, path: str, file: str) -> Stamp | None:
        try:
            stat = os.stat(f"{self._place}/{path}/{file}")  # noqa: PTH116
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size
