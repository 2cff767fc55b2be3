"""Reading a user's images once: decoded, duplicates found, labels joined, everything reported.

No mathematics of its own; near-duplicates are those of `kurabe.data.duplicates`.
"""

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kurabe.data.duplicates import exact_duplicates, near_duplicates
from kurabe.data.entries import Entry, Listing
from kurabe.data.images import UNLABELLED, ImageSet
from kurabe.data.large import each_part, in_parts, taken
from kurabe.data.lookup import by_folders, by_tables
from kurabe.data.reading import Read, read_all
from kurabe.data.report import Note, Report, some_of
from kurabe.data.sources import opened
from kurabe.data.tables import read_table
from kurabe.errors import UserError, refusal, shown
from kurabe.sizes import Sides, Size, sides_of, times


def read_images(
    path: Path, size: Size, labels_file: Path | None = None, *, copies: bool = False
) -> ImageSet:
    """Every image of a folder, an archive or a table that can be read; exact duplicates once, or
    where `copies` is true each time.

    The set has its Report. Raises UserError where no image is left.
    """
    with opened(path) as listing:
        if labels_file is not None:
            _use_table(listing, labels_file)
        read = read_all(listing, sides_of(size))
    entries = read.entries
    if not entries:
        raise UserError(_nothing(path, listing))
    first = exact_duplicates(read.pixels)
    texts, notes = _labels(entries, listing)
    if not copies:
        notes += _joined(texts, first, entries)
    kept = np.arange(len(first)) if copies else np.flatnonzero(first == np.arange(len(first)))
    pixels = read.pixels if len(kept) == len(first) else taken(read.pixels, kept)
    grey = all(bool((part == part[..., :1]).all()) for part in in_parts(pixels))
    shown_names = unique([shown(entry.name) for entry in entries])
    label_names = tuple(sorted({text for text in texts if text}))
    images = ImageSet(
        name=shown(path.resolve().name),
        pixels=each_part(pixels, lambda part: part[..., :1]) if grey else pixels,
        ids=tuple(shown_names[i] for i in kept),
        groups=near_duplicates(pixels),
        labels=_numbers([texts[i] for i in kept], label_names),
        label_names=label_names,
    )
    report = _report(path, listing, read, images)
    earlier: list[int] = first.tolist()
    again = [] if copies else [(i, j) for i, j in enumerate(earlier) if i != j]
    return images.reported(
        replace(
            report,
            duplicates=tuple((shown_names[i], shown_names[j]) for i, j in again),
            notes=(*_cut(read, images.size), *listing.notes, *notes),
        )
    )


def _report(path: Path, listing: Listing, read: Read, images: ImageSet) -> Report:
    """What is known of a set without its duplicates and notes."""
    return Report(
        source=shown(path),
        found=len(read.entries) + len(listing.dropped),
        kept=len(images),
        dropped=tuple((shown(name), shown(why)) for name, why in listing.dropped),
        near_duplicates=_alike(images),
        sizes=read.sizes,
        modes=read.modes,
        treated=read.treated,
        labels=_label_counts(images),
        left=tuple((shown(name), why, count) for name, why, count in listing.left),
        rows=sum(entry.row for entry in read.entries) + listing.rows_dropped,
        cropped=read.cropped if images.size[0] == images.size[1] else None,
        scales={"floating" if floating else "whole": s for floating, s in read.scales.items()},
    )


def _cut(read: Read, sides: Sides) -> list[Note]:
    """What is said of the crop where images do not become square."""
    if read.cropped is None or sides[0] == sides[1]:
        return []
    count, share, name = read.cropped
    filled = {"n": count, "share": f"{100 * share:.0f}", "name": name, "size": times(sides)}
    return [("crop.to", filled)]


def report_of(images: ImageSet) -> Report:
    """The report of a known set, of which nothing is dropped."""
    return Report(
        source=images.name,
        found=len(images),
        kept=len(images),
        near_duplicates=_alike(images),
        sizes={(images.size[1], images.size[0]): len(images)},
        modes={"L" if images.channels == 1 else "RGB": len(images)},
        labels=_label_counts(images),
    )


def _labels(entries: list[Entry], listing: Listing) -> tuple[list[str | None], list[Note]]:
    """Labels by tables, else the source's own, else folders, one an entry; what to say of them."""
    others = [name for name, _ in listing.dropped]
    notes = list[Note]()
    if listing.tables:
        # A row of a table has no path; what the report calls it serves.
        places = [entry.path or entry.name for entry in entries]
        texts, notes = by_tables(listing.tables, places, others)
        if texts is not None:
            return texts, notes
    if any(entry.label is not None for entry in entries):
        if without := sum(entry.without for entry in entries):
            notes.append(("source.without", {"n": without}))
        return [entry.label for entry in entries], notes
    texts, more = by_folders([entry.place for entry in entries])
    return texts, notes + more


def _joined(texts: list[str | None], first: NDArray[np.int64], entries: list[Entry]) -> list[Note]:
    """Give copies of one picture one label: the one that they have, none where they have two."""
    said, members = defaultdict[int, set[str]](set), defaultdict[int, list[int]](list)
    copied: list[int] = np.flatnonzero(np.bincount(first)[first] > 1).tolist()
    for i in copied:
        at = int(first[i])
        members[at].append(i)
        if (text := texts[i]) is not None:
            said[at].add(text)
    twice = [at for at, labels in said.items() if len(labels) > 1]
    for at, labels in said.items():
        texts[at] = None if len(labels) > 1 else next(iter(labels))
        for i in members[at]:
            texts[i] = texts[at]
    if not twice:
        return []
    names = [" = ".join(shown(entries[i].name) for i in members[at]) for at in twice]
    return [("labels.two", {"n": len(twice), "names": some_of(names)})]


def _numbers(texts: list[str | None], label_names: tuple[str, ...]) -> NDArray[np.int64] | None:
    if not label_names:
        return None
    number = {name: i for i, name in enumerate(label_names)}
    return np.array([number.get(text or "", UNLABELLED) for text in texts], np.int64)


def unique(names: list[str]) -> list[str]:
    """The names, each but once: names that differ in what cannot be shown get a number."""
    taken, result = set(names), list[str]()
    seen = set[str]()
    for name in names:
        own, number = name, 2
        while own in seen or (own != name and own in taken):
            own, number = f"{name} ({number})", number + 1
        seen.add(own)
        result.append(own)
    return result


def _use_table(listing: Listing, path: Path) -> None:
    """Take the labels of a table that the user named, and of no other."""
    try:
        table = read_table(path.read_bytes(), str(path))
    except OSError as error:
        raise refusal(error) from None
    for other in listing.tables:
        why = f"{table.name} was named instead"
        listing.notes.append(("table.unused", {"table": other.name, "why": why}))
    listing.tables = [replace(table, required=True)]


def _alike(images: ImageSet) -> tuple[tuple[str, ...], ...]:
    members = defaultdict[int, list[str]](list)
    several: list[int] = np.flatnonzero(np.bincount(images.groups)[images.groups] > 1).tolist()
    for i in several:
        members[int(images.groups[i])].append(images.ids[i])
    return tuple(map(tuple, members.values()))


def _label_counts(images: ImageSet) -> dict[str, int]:
    if images.labels is None:
        return {}
    counts = Counter[int](images.labels.tolist())
    names = dict(enumerate(images.label_names)) | {UNLABELLED: "(none)"}
    return {name: counts[i] for i, name in names.items() if counts[i]}


def _nothing(path: Path, listing: Listing) -> str:
    if not listing.dropped:
        others = f"{listing.ignored} other {'file' if listing.ignored == 1 else 'files'}"
        return f"{shown(path)} holds no images ({others}); name a folder that does."
    file, reason = listing.dropped[0]
    count, where = len(listing.dropped), shown(path)
    what = "The only image" if count == 1 else f"None of the {count} images"
    verb = "cannot be read" if count == 1 else "can be read"
    return f"{what} in {where} {verb}: {shown(file)} {shown(reason)}."
