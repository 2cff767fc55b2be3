"""What happened to each file of a user's images: kept, dropped and why, duplicates, sizes, modes.

The texts of `kurabe data check` come from here; every file that was met is in one of the counts:
files = kept + duplicates + dropped + left out. No mathematics.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from kurabe.errors import shown
from kurabe.words.data import say, treatment

# A note's key in `kurabe.data.words` and what fills it.
Note = tuple[str, dict[str, Any]]
# A file or folder that is no candidate, why (a key "left.…"), and how many files it stands for.
Left = tuple[str, str, int]
NAMED = 5


def some_of(names: Sequence[str]) -> str:
    """A few names as text, and how many more there are."""
    rest = f", … (+{len(names) - NAMED})" if len(names) > NAMED else ""
    return ", ".join(shown(name) for name in names[:NAMED]) + rest


# What begins the reason where the system let a file not be read, and not the file itself.
CLOSED = "may not be read"


@dataclass(frozen=True)
class Report:
    """A preflight's findings; file names are as in the source, made safe to show.

    dropped: (file, reason). duplicates: (file, the earlier file with the same pixels), left
    out. near_duplicates: groups of two or more kept files that look alike, which stay on one
    side of every split. sizes: (width, height) → count. modes: how files store colour → count.
    treated: what was done to files a plain reader would get wrong → count. labels: name → count.
    left: what is no image of the set and why. rows: how many of those found are rows of tables
    or members of archives, no files of their own. cropped: images of which the middle square is
    less than the whole, the least share that is kept, and of which. scales: the value that is
    white in images of more than 8 bits, of whole numbers and of floating point.
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
    left: tuple[Left, ...] = ()
    rows: int = 0
    cropped: tuple[int, float, str] | None = None
    scales: dict[str, float] = field(default_factory=dict[str, float])
    notes: tuple[Note, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all that is there could be looked into: what was closed may be open later."""
        closed = any(reason.startswith(CLOSED) for _, reason in self.dropped)
        return not closed and not any(why == "left.closed" for _, why, _ in self.left)

    @property
    def ignored(self) -> int:
        """Files without an image's ending."""
        return sum(count for _, why, count in self.left if why == "left.ending")

    @property
    def files(self) -> int:
        """All files met: images, and what is left out."""
        return self.found - self.rows + sum(count for _, _, count in self.left)

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON values; sizes as "WIDTHxHEIGHT"."""
        values = asdict(self)
        values["sizes"] = {f"{w}x{h}": n for (w, h), n in self.sizes.items()}
        values["notes"] = [
            {"key": key, "values": filled, "text": say(key, "en", **filled)}
            for key, filled in self.notes
        ]
        return values | {"files": self.files, "ignored": self.ignored}

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
            left=tuple((name, why, count) for name, why, count in values["left"]),
            rows=values["rows"],
            cropped=values["cropped"] and tuple(values["cropped"]),
            scales=values["scales"],
            notes=tuple((note["key"], note["values"]) for note in values["notes"]),
        )

    def lines(self, show: int = 10, lang: str = "en") -> list[str]:
        """Text for a terminal; at most `show` files are named in each list."""
        lines = [
            say("report.kept", lang, source=self.source, kept=self.kept, found=self.found),
            *self._left_out(show, lang),
        ]
        duplicates = [f"{file} = {first}" for file, first in self.duplicates]
        alike = [" ~ ".join(group) for group in self.near_duplicates]
        dropped = [f"{file} {reason}" for file, reason in self.dropped]
        for key, entries in (("dropped", dropped), ("duplicates", duplicates), ("near", alike)):
            lines += _listed(
                say(f"report.{key}", lang, n=_n(len(entries), lang)), entries, show, lang
            )
        if self.sizes:
            lines.append(f"  {say('report.sizes', lang)} {self._size_range(lang)}")
        counted = {"modes": self.modes, "treated": self.treated, "labels": self.labels}
        lines += [
            f"  {say(f'report.{key}', lang)} {_counts(counts, lang)}"
            for key, counts in counted.items()
            if counts
        ]
        if not self.labels:
            lines.append(f"  {say('report.labels', lang)} {say('report.none', lang)}")
        notes = [say(key, lang, **filled) for key, filled in (*self._derived(), *self.notes)]
        return lines + [f"  {say('report.note', lang)} {note}" for note in notes]

    def told(self, lang: str) -> list[str]:
        """What was taken for what, labels above all, and what was not used: a sentence each."""
        return [say(key, lang, **filled) for key, filled in self.notes]

    def _left_out(self, show: int, lang: str) -> list[str]:
        """What is no image of the set, by reason; nothing is left out unnamed."""
        lines, reasons = list[str](), dict[str, list[tuple[str, int]]]()
        for name, why, count in self.left:
            reasons.setdefault(why, []).append((name, count))
        for why, entries in reasons.items():
            count = sum(n or 1 for _, n in entries)
            title = say(why, lang, n=_n(count, lang))
            lines += _listed(title, [name for name, _ in entries], show, lang)
        return lines

    def _derived(self) -> list[Note]:
        notes = list[Note]()
        for kind, value in self.scales.items():
            notes.append((f"scale.{kind}", {"value": f"{value:,.7g}"}))
        if self.cropped:
            count, share, name = self.cropped
            notes.append(("crop", {"n": count, "share": f"{100 * share:.0f}", "name": name}))
        return notes

    def _size_range(self, lang: str) -> str:
        widths, heights = zip(*self.sizes, strict=True)
        small = f"{min(widths)}×{min(heights)}"
        large = f"{max(widths)}×{max(heights)}"
        return small if small == large else say("report.range", lang, small=small, large=large)


def _width_height(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


def _n(count: int, lang: str) -> str:
    return say("report.file" if count == 1 else "report.files", lang, n=count)


def _listed(title: str, entries: list[str], show: int, lang: str) -> list[str]:
    if not entries:
        return []
    left = len(entries) - show
    rest = [f"    {say('report.more', lang, n=left)}"] if left > 0 else []
    return [f"  {title}:", *(f"    {entry}" for entry in entries[:show]), *rest]


def _counts(counts: dict[str, int], lang: str) -> str:
    return ", ".join(f"{treatment(k, lang)} {n}" for k, n in Counter(counts).most_common())
