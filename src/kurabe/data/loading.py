"""`load`: images from a known name, a folder, a zip file or a Parquet file. No mathematics."""

from dataclasses import replace

from kurabe.data import named
from kurabe.data.fetch import Progress
from kurabe.data.images import ImageSet
from kurabe.data.resize import recoloured, resized
from kurabe.errors import UserError


def load(
    source: str,
    *,
    size: int | None = None,
    channels: int | None = None,
    limit: int | None = None,
    labels: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ImageSet:
    """The images of `source` as one set, from the cache where they were read before.

    source: a name in `named.available()`, or a path. size: pixels per side; None is a known
    set's own size. channels: 1 or 3; None keeps the set's own. limit: at most so many images,
    drawn by `seed` in whole groups. labels: a labels.csv for a path.
    """
    known = named.available().get(source)
    if known is None:
        raise UserError(f"{source} is neither a path nor a known set.")
    images = named.get(source, size, progress)
    pixels = resized(images.pixels, size or known.size)
    images = replace(images, pixels=recoloured(pixels, channels or images.channels))
    return images if limit is None else images.limited(limit, seed)
