"""Which label each image has: looked up in tables by its name, or the folder it lies in.

Names are compared as they are, then in Unicode's form NFC, then one as the end of the other
(000.png and birds/000.png) where that fits one image and one row. What fits several is not used.
No mathematics.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import PurePosixPath

from kurabe.data.report import Note, some_of
from kurabe.data.tables import Table, as_label
from kurabe.errors import UserError, shown

# What people and datasets call the parts of a split.
SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval"}


@dataclass
class Fit:
    """labels: image → what its row says; unfit: rows that fit no image; several: rows that fit
    several images, or share one with a row that says otherwise."""

    labels: dict[str, str | None] = field(default_factory=dict[str, str | None])
    unfit: list[str] = field(default_factory=list[str])
    several: list[str] = field(default_factory=list[str])


def fitted(rows: dict[str, str | None], names: Sequence[str]) -> Fit:
    """The rows of a table joined to the names of images."""
    fit, exact = Fit(), set(names)
    alike, last = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for name in dict.fromkeys(names):
        alike[_nfc(name)].append(name)
        last[PurePosixPath(_nfc(name)).name].append(name)
    claims, weak = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for row in rows:
        whole = [row] if row in exact else alike.get(_nfc(row), [])
        ends = whole or [
            name for name in last.get(PurePosixPath(_nfc(row)).name, []) if _is_end(name, row)
        ]
        if not ends:
            fit.unfit.append(row)
        elif len(ends) > 1:
            fit.several.append(row)
        else:
            (claims if whole else weak)[ends[0]].append(row)
    for name, claiming in weak.items():
        if name in claims:
            fit.unfit += claiming
        else:
            claims[name] = claiming
    for name, claiming in claims.items():
        said = {rows[row] for row in claiming}
        if len(said) > 1:
            fit.several += claiming
        else:
            fit.labels[name] = said.pop()
    return fit


def by_tables(
    tables: Sequence[Table], names: Sequence[str], others: Sequence[str]
) -> tuple[list[str | None] | None, list[Note]]:
    """The label of each of `names` by the tables, and what to say; None where no table has any.

    others: names that rows may fit too, of files that cannot be read. Two tables that give one
    image different labels give it none. UserError where a table that the user named fits nothing.
    """
    found, notes = defaultdict[str, set[str]](set), list[Note]()
    used = list[Table]()
    for table in tables:
        fit = fitted(table.rows, [*names, *others])
        given = {n: t for n, t in fit.labels.items() if t is not None}
        if not any(name in given for name in names):
            if table.required:
                raise UserError(
                    f"{table.name} names none of the images: it has "
                    f"{shown(next(iter(table.rows), 'no row'))}, the images have "
                    f"{shown(names[0])}."
                )
            notes.append(("table.unused", {"table": table.name, "why": "it fits no image"}))
            continue
        used.append(table)
        for name, text in given.items():
            found[name].add(text)
        notes += _about(table, fit)
    if not used:
        return None, notes
    texts = [next(iter(found[n])) if len(found[n]) == 1 else None for n in names]
    bare = [name for name, text in zip(names, texts, strict=True) if text is None]
    if bare:
        which = ", ".join(dict.fromkeys(table.name for table in used))
        counts = {"n": len(bare), "of": len(names), "names": some_of(bare)}
        notes.append(("table.missing", {"table": which, **counts}))
    return texts, notes


def _about(table: Table, fit: Fit) -> list[Note]:
    file, label = table.columns
    notes: list[Note] = [("table.taken", {"table": table.name, "file": file, "label": label})]
    if table.unused:
        notes.append(("table.columns", {"table": table.name, "names": some_of(table.unused)}))
    for key, rows in (("table.unfit", fit.unfit), ("table.several", fit.several)):
        if rows:
            notes.append((key, {"table": table.name, "n": len(rows), "names": some_of(rows)}))
    if table.without:
        notes.append(("table.without", {"table": table.name, "n": table.without}))
    return notes


def by_folders(names: Sequence[str]) -> tuple[list[str | None], list[Note]]:
    """The first folder below those that all files share, where there are two or more and at
    least half of the images lie in one; the others have no label. names: "" has no folder.

    Folders that are called as the parts of a split are are no classes; those below them may be.
    """
    nothing: list[str | None] = [None] * len(names)
    parents = [PurePosixPath(name).parent.parts for name in names]
    alike = (len(set(level)) == 1 for level in zip(*parents, strict=False))
    shared = sum(1 for _ in takewhile(bool, alike))
    below = [parts[shared:] for parts in parents]
    notes = list[Note]()
    if parts := _split_parts(below):
        notes.append(("folders.split", {"names": some_of(parts)}))
        below = [place[1:] for place in below]
    texts = [as_label(place[0]) if place else None for place in below]
    classes = sorted({text for text in texts if text})
    stray = [name for name, text in zip(names, texts, strict=True) if text is None]
    if not classes:
        return nothing, notes
    if len(classes) < 2 or len(stray) > len(names) / 2:
        counts = {"n": len(stray), "of": len(names), "names": some_of(classes)}
        return nothing, [*notes, ("folders.none", counts)]
    notes.append(("folders.taken", {"n": len(classes)}))
    if stray:
        notes.append(("folders.stray", {"n": len(stray), "names": some_of(stray)}))
    return texts, notes


def _split_parts(places: list[tuple[str, ...]]) -> list[str]:
    """The first folders, where there are two or more and all are called as parts of a split."""
    first = sorted({place[0] for place in places if place})
    return first if len(first) > 1 and all(name.lower() in SPLITS for name in first) else []


def _is_end(name: str, row: str) -> bool:
    """Whether the folders of one are the last of the other's."""
    one, other = PurePosixPath(_nfc(name)).parts, PurePosixPath(_nfc(row)).parts
    count = min(len(one), len(other))
    return one[-count:] == other[-count:]


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)
