"""Reading a user's images once: decoded, duplicates found, labels joined, everything reported.

No mathematics of its own; near-duplicates are those of `kurabe.data.duplicates`.
"""

import os
import warnings
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kurabe.data.decoding import Decoded, UnreadableError, decode, to_uint8
from kurabe.data.duplicates import exact_duplicates, near_duplicates
from kurabe.data.entries import Entry, Listing, of_the_file
from kurabe.data.images import UNLABELLED, ImageSet
from kurabe.data.lookup import by_folders, by_tables
from kurabe.data.report import CLOSED, Note, Report, some_of
from kurabe.data.scales import scales_of
from kurabe.data.sources import opened
from kurabe.data.tables import read_table
from kurabe.errors import UserError, refusal, shown

AT_ONCE = 256


def read_images(
    path: Path, size: int, labels_file: Path | None = None, *, copies: bool = False
) -> ImageSet:
    """Every image of a folder, an archive or a table that can be read; exact duplicates once, or
    where `copies` is true each time.

    The set has its Report. Raises UserError where no image is left.
    """
    with opened(path) as listing:
        if labels_file is not None:
            _use_table(listing, labels_file)
        entries, decoded = _decoded(listing, size)
    if not entries:
        raise UserError(_nothing(path, listing))
    pixels = to_uint8(decoded)
    first = exact_duplicates(pixels)
    texts, notes = _labels(entries, listing)
    if not copies:
        notes += _joined(texts, first, entries)
    kept = np.arange(len(first)) if copies else np.flatnonzero(first == np.arange(len(first)))
    grey = bool((pixels[kept] == pixels[kept][..., :1]).all())
    shown_names = unique([shown(entry.name) for entry in entries])
    label_names = tuple(sorted({text for text in texts if text}))
    images = ImageSet(
        name=shown(path.resolve().name),
        pixels=np.ascontiguousarray(pixels[kept][..., :1] if grey else pixels[kept]),
        ids=tuple(shown_names[i] for i in kept),
        groups=near_duplicates(pixels[kept]),
        labels=_numbers([texts[i] for i in kept], label_names),
        label_names=label_names,
    )
    report = _report(path, listing, entries, decoded, images)
    earlier: list[int] = first.tolist()
    again = [] if copies else [(i, j) for i, j in enumerate(earlier) if i != j]
    return images.reported(
        replace(
            report,
            duplicates=tuple((shown_names[i], shown_names[j]) for i, j in again),
            notes=(*listing.notes, *notes),
        )
    )


def _report(
    path: Path,
    listing: Listing,
    entries: list[Entry],
    decoded: list[Decoded],
    images: ImageSet,
) -> Report:
    """What is known of a set without its duplicates and notes."""
    rows = sum(entry.row for entry in entries) + listing.rows_dropped
    scales = scales_of([d.deep for d in decoded if d.deep])
    return Report(
        source=shown(path),
        found=len(entries) + len(listing.dropped),
        kept=len(images),
        dropped=tuple((shown(name), shown(why)) for name, why in listing.dropped),
        near_duplicates=_alike(images),
        sizes=dict[tuple[int, int], int](Counter((d.width, d.height) for d in decoded)),
        modes=dict(Counter(d.mode for d in decoded)),
        treated=dict(Counter(text for d in decoded for text in d.treated)),
        labels=_label_counts(images),
        left=tuple((shown(name), why, count) for name, why, count in listing.left),
        rows=rows,
        cropped=_cropped(entries, decoded),
        scales={"floating" if floating else "whole": s for floating, s in scales.items()},
    )


def _cropped(entries: list[Entry], decoded: list[Decoded]) -> tuple[int, float, str] | None:
    """Images that are not square: how many, the least share that the crop keeps, and of which."""
    shares = [
        (min(d.width, d.height) / max(d.width, d.height), entry.name)
        for entry, d in zip(entries, decoded, strict=True)
        if d.width != d.height
    ]
    if not shares:
        return None
    least, name = min(shares)
    return len(shares), least, shown(name)


def report_of(images: ImageSet) -> Report:
    """The report of a known set, of which nothing is dropped."""
    return Report(
        source=images.name,
        found=len(images),
        kept=len(images),
        near_duplicates=_alike(images),
        sizes={(images.size, images.size): len(images)},
        modes={"L" if images.channels == 1 else "RGB": len(images)},
        labels=_label_counts(images),
    )


def _decoded(listing: Listing, size: int) -> tuple[list[Entry], list[Decoded]]:
    """What can be read, in the source's order; what cannot is noted in listing.dropped."""

    def attempt(entry: Entry) -> Decoded | str:
        try:
            return decode(entry.read(), size)
        except UnreadableError as error:
            return str(error)
        except OSError as error:
            if not of_the_file(error):
                raise
            return f"{CLOSED} ({error.strerror})"

    entries, decoded = list[Entry](), list[Decoded]()
    waiting = iter(listing.entries)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        while batch := list(islice(waiting, AT_ONCE)):
            for entry, result in zip(batch, pool.map(attempt, batch), strict=True):
                if isinstance(result, str):
                    listing.dropped.append((entry.name, result))
                    listing.rows_dropped += entry.row
                else:
                    entries.append(replace(entry, read=bytes))
                    decoded.append(result)
    return entries, decoded


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
    earlier: list[int] = first.tolist()
    for i, (text, at) in enumerate(zip(texts, earlier, strict=True)):
        members[at].append(i)
        if text is not None:
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
    for name, group in zip(images.ids, images.groups.tolist(), strict=True):
        members[group].append(name)
    return tuple(tuple(names) for names in members.values() if len(names) > 1)


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
