"""What happened to each file of a user's images: kept, dropped and why, duplicates, sizes, modes.

The texts of `kurabe data check` come from here. No mathematics.
"""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Report:
    """A preflight's findings; file names are as in the source.

    dropped: (file, reason). duplicates: (file, the earlier file with the same pixels), left
    out. near_duplicates: groups of two or more kept files that look alike, which stay on one
    side of every split. sizes: (width, height) → count. modes: how files store colour → count.
    treated: what was done to files a plain reader would get wrong → count. labels: name → count.
    """

    source: str
    found: int
    kept: int
    dropped: tuple[tuple[str, str], ...] = ()
    duplicates: tuple[tuple[str, str], ...] = ()
    near_duplicates: tuple[tuple[str, ...], ...] = ()
    sizes: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])
    modes: dict[str, int] = field(default_factory=dict[str, int])
    treated: dict[str, int] = field(default_factory=dict[str, int])
    labels: dict[str, int] = field(default_factory=dict[str, int])
    ignored: int = 0
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON values; sizes as "WIDTHxHEIGHT"."""
        values = asdict(self)
        values["sizes"] = {f"{w}x{h}": n for (w, h), n in self.sizes.items()}
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Report":
        """The report that `as_dict` gave, also after a trip through JSON."""
        return cls(
            source=values["source"],
            found=values["found"],
            kept=values["kept"],
            dropped=tuple((file, reason) for file, reason in values["dropped"]),
            duplicates=tuple((file, first) for file, first in values["duplicates"]),
            near_duplicates=tuple(tuple(group) for group in values["near_duplicates"]),
            sizes={_width_height(key): n for key, n in values["sizes"].items()},
            modes=values["modes"],
            treated=values["treated"],
            labels=values["labels"],
            ignored=values["ignored"],
            notes=tuple(values["notes"]),
        )

    def lines(self, show: int = 10) -> list[str]:
        """Text for a terminal; at most `show` files are named in each list."""
        lines = [f"{self.source}: {self.kept} of {self.found} images kept"]
        if self.ignored:
            lines.append(f"  {_files(self.ignored)} without an image's ending ignored")
        lines += _listed(
            f"{_files(len(self.dropped))} dropped",
            [f"{file} {reason}" for file, reason in self.dropped],
            show,
        )
        lines += _listed(
            f"{_files(len(self.duplicates))} left out as exact duplicates",
            [f"{file} = {first}" for file, first in self.duplicates],
            show,
        )
        lines += _listed(
            f"{len(self.near_duplicates)} groups of near-duplicates, each kept on one side",
            [" ~ ".join(group) for group in self.near_duplicates],
            show,
        )
        if self.sizes:
            lines.append(f"  sizes   {self._size_range()}")
        lines += [
            f"  {title:<7} {_counts(counts)}"
            for title, counts in (
                ("modes", self.modes),
                ("treated", self.treated),
                ("labels", self.labels),
            )
            if counts
        ]
        if not self.labels:
            lines.append("  labels  none")
        return lines + [f"  note    {note}" for note in self.notes]

    def _size_range(self) -> str:
        widths, heights = zip(*self.sizes, strict=True)
        small = f"{min(widths)}×{min(heights)}"
        large = f"{max(widths)}×{max(heights)}"
        return small if small == large else f"{small} to {large} pixels"


def _width_height(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


def _files(count: int) -> str:
    return f"{count} file" if count == 1 else f"{count} files"


def _listed(title: str, entries: list[str], show: int) -> list[str]:
    if not entries:
        return []
    rest = [f"    … and {len(entries) - show} more"] if len(entries) > show else []
    return [f"  {title}:", *(f"    {entry}" for entry in entries[:show]), *rest]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in Counter(counts).most_common())
