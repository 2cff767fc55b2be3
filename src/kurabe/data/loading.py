"""`load` and `check`: images from a known name, a folder, a zip file or a Parquet file.

No mathematics.
"""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from kurabe.data.buckets import bucketed, listed
from kurabe.data.cache import cached
from kurabe.data.images import ImageSet
from kurabe.data.known import named
from kurabe.data.known.fetch import Progress
from kurabe.data.large import each_part
from kurabe.data.preflight import read_images, report_of
from kurabe.data.report import Report
from kurabe.data.resize import recoloured, resized
from kurabe.data.sources import fingerprint
from kurabe.errors import UserError, shown
from kurabe.sizes import Sides, Size, aspects_of, bucket_sides, setting_of, sides_of

DEFAULT_SIZE = 32


def load(
    source: str,
    *,
    size: Size | None = None,
    channels: int | None = None,
    limit: int | None = None,
    labels: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    copies: bool = False,
) -> ImageSet:
    """The images of `source` as one set, from the cache where they were read before.

    source: a name in `named.available()`, or the path of a folder, .zip, .parquet, .arrow or
    .tar file (a folder that has a known set's name is meant by "./name"). size: pixels a side,
    "WIDTHxHEIGHT" or (height, width); images are shrunk to cover it and cropped in the middle.
    None is a known set's own size, 32 for a path. channels: 1 or 3; None keeps a known set's own,
    and is 1 for a path whose images are all grey. limit: at most so many images, drawn by `seed` in
    whole groups. labels: a labels.csv for the images of a path. copies: keep every image of a
    path, exact duplicates too, in the order of their names.

    Raises UserError where the source is not there or holds no image that can be read.
    """
    asked = None if size is None else _sides(size)
    known = named.available().get(source)
    if known is not None:
        if labels is not None:
            raise UserError(f"{source} brings its own labels; leave {labels} out.")
        images = named.get(source, asked and max(asked), progress)
        wanted = asked or sides_of(known.size)
    else:
        wanted = asked or sides_of(DEFAULT_SIZE)
        images = _from_path(source, wanted, labels, copies)
    colours = channels or images.channels
    if (images.size, images.channels) != (wanted, colours):
        changed = each_part(images.pixels, lambda part: recoloured(resized(part, wanted), colours))
        images = replace(images, pixels=changed)
    return images if limit is None else images.limited(limit, seed)


def _sides(size: Size) -> Sides:
    try:
        return sides_of(setting_of(size))
    except ValueError as error:
        raise UserError(f"A size {error}, not {shown(size)}.") from None


def check(
    source: str,
    labels: str | None = None,
    size: Size | None = None,
    aspects: Sequence[str] | str | None = None,
) -> Report:
    """What of a source is kept and dropped and why, duplicates, sizes, modes, labels.

    size: what images are to become, as in `load`. aspects: ratios "W:H" that they are trained in.
    Raises UserError as `load` does.
    """
    images = load(source, labels=labels, size=size)
    report = images.report or report_of(images)
    if aspects is None:
        return report
    try:
        sizes = bucket_sides(images.size, aspects_of(aspects), 1)
    except ValueError as error:
        raise UserError(f"A ratio {error}.") from None
    counts = bucketed(images, source, sizes).counts(np.arange(len(images)))
    return replace(report, notes=(*report.notes, ("buckets", {"counts": listed(counts)})))


def _from_path(source: str, size: Sides, labels: str | None, copies: bool) -> ImageSet:
    path = Path(source).expanduser()
    if not path.exists():
        alike = difflib.get_close_matches(source, named.available(), 1)
        hint = f"Did you mean {alike[0]}?" if alike else "kurabe data list shows the known sets."
        raise UserError(f"{shown(source)} does not exist. {hint}")
    key = {"path": str(path.resolve()), "content": fingerprint(path), "size": setting_of(size)}
    if copies:
        key |= {"copies": True}
    if labels is not None:
        key |= {"labels": fingerprint(Path(labels))}
    table = Path(labels) if labels else None
    return cached(key, lambda: read_images(path, size, table, copies=copies))
