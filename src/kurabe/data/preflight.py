"""Reading a user's images once: decoded, duplicates found, labels joined, everything reported.

No mathematics of its own; near-duplicates are those of `kurabe.data.duplicates`.
"""

import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, takewhile
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kurabe.data.decoding import Decoded, UnreadableError, decode, to_uint8
from kurabe.data.duplicates import exact_duplicates, near_duplicates
from kurabe.data.images import UNLABELLED, ImageSet
from kurabe.data.report import Report
from kurabe.data.sources import LABELS, Entry, Listing, opened, read_labels
from kurabe.errors import UserError

AT_ONCE = 256


def read_images(path: Path, size: int, labels_file: Path | None = None) -> ImageSet:
    """Every image of a folder, zip or Parquet file that can be read, exact duplicates once.

    The set has its Report. Raises UserError where no image is left.
    """
    with opened(path) as listing:
        if labels_file is not None:
            listing.labels = _labels_from(labels_file)
        entries, decoded = _decoded(listing, size)
    found = len(entries) + len(listing.dropped)
    if not entries:
        raise UserError(_nothing(path, listing))
    pixels = to_uint8(decoded)
    first = exact_duplicates(pixels)
    kept = np.flatnonzero(first == np.arange(len(first)))
    earlier: list[int] = first.tolist()
    again = [(i, j) for i, j in enumerate(earlier) if i != j]
    grey = bool((pixels[kept] == pixels[kept][..., :1]).all())
    names = tuple(entries[i].name for i in kept)
    labels, label_names, notes = _labels([entries[i] for i in kept], listing.labels)
    images = ImageSet(
        name=path.resolve().name,
        pixels=np.ascontiguousarray(pixels[kept][..., :1] if grey else pixels[kept]),
        ids=names,
        groups=near_duplicates(pixels[kept]),
        labels=labels,
        label_names=label_names,
    )
    report = Report(
        source=str(path),
        found=found,
        kept=len(kept),
        dropped=tuple(listing.dropped),
        duplicates=tuple((entries[i].name, entries[j].name) for i, j in again),
        near_duplicates=_alike(images),
        sizes=dict[tuple[int, int], int](Counter((d.width, d.height) for d in decoded)),
        modes=dict(Counter(d.mode for d in decoded)),
        treated=dict(Counter(text for d in decoded for text in d.treated)),
        labels=_label_counts(images),
        ignored=listing.ignored,
        notes=notes,
    )
    return images.reported(report)


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
            return f"may not be read ({error.strerror})"

    entries, decoded = list[Entry](), list[Decoded]()
    waiting = iter(listing.entries)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        while batch := list(islice(waiting, AT_ONCE)):
            for entry, result in zip(batch, pool.map(attempt, batch), strict=True):
                if isinstance(result, str):
                    listing.dropped.append((entry.name, result))
                else:
                    entries.append(Entry(entry.name, bytes, entry.label))
                    decoded.append(result)
    return entries, decoded


def _labels(
    entries: list[Entry], table: dict[str, str]
) -> tuple[NDArray[np.int64] | None, tuple[str, ...], tuple[str, ...]]:
    """Labels by labels.csv, else the source's own, else subfolders; their names; notes."""
    notes = ()
    if table:
        texts = [_looked_up(table)(entry.name) for entry in entries]
        if not any(texts):
            raise UserError(
                f"{LABELS} names none of the images: it has {next(iter(table))}, "
                f"the images have {entries[0].name}."
            )
        if missing := texts.count(None):
            notes = (f"{LABELS} gives no label for {missing} of {len(texts)} images",)
    elif any(entry.label is not None for entry in entries):
        texts = [entry.label for entry in entries]
    else:
        texts = _subfolders([entry.name for entry in entries])
    names = tuple(sorted({text for text in texts if text}))
    if not names:
        return None, (), notes
    number = {name: i for i, name in enumerate(names)}
    return np.array([number.get(t or "", UNLABELLED) for t in texts], np.int64), names, notes


def _looked_up(table: dict[str, str]) -> Callable[[str], str | None]:
    """Look a file up by its path, else by its name alone where that is unambiguous."""
    by_name = Counter(PurePosixPath(name).name for name in table)
    alone = {
        PurePosixPath(n).name: t for n, t in table.items() if by_name[PurePosixPath(n).name] == 1
    }
    return lambda name: table.get(name) or alone.get(PurePosixPath(name).name) or None


def _subfolders(names: list[str]) -> list[str | None]:
    """The first folder below those that all files share, if every file lies in one."""
    parents = [PurePosixPath(name).parent.parts for name in names]
    alike = (len(set(level)) == 1 for level in zip(*parents, strict=False))
    shared = sum(1 for _ in takewhile(bool, alike))
    if any(len(parts) == shared for parts in parents):
        return [None] * len(names)
    return [parts[shared] for parts in parents]


def _labels_from(path: Path) -> dict[str, str]:
    try:
        return read_labels(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


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
        return f"{path} holds no images ({listing.ignored} other files); name a folder that does."
    file, reason = listing.dropped[0]
    count = len(listing.dropped)
    return f"None of the {count} images in {path} can be read: {file} {reason}."
