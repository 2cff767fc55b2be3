"""Sample grids as PNG files that know their tile size and the seed of each tile.

The seeds stand in the file's name, as first-last, and in full in the file: tile k of every
column of a study was drawn from the starting noise of the same seed, so tiles are compared one
by one.
"""

import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from kurabe.errors import UserError
from kurabe.files import naming, write_bytes_atomic

Pixels = NDArray[np.uint8]

_NAME = re.compile(r"(?P<kind>[a-z-]+)-(?P<seen>\d{10})-seed-(?P<first>\d+)-(?P<last>\d+)\.png")
_KEY = "kurabe-grid"


@dataclass(frozen=True)
class SampleGrid:
    """tiles: uint8 (N, H, W, C), C 1 or 3; seeds: N ints; images_seen: at what point."""

    tiles: Pixels
    seeds: tuple[int, ...]
    kind: str
    images_seen: int


def grid_name(kind: str, seeds: Sequence[int], images_seen: int) -> str:
    """The file's name, which sorts by images seen."""
    return f"{kind}-{images_seen:010d}-seed-{min(seeds)}-{max(seeds)}.png"


def sheet(tiles: Pixels, most: int) -> Image.Image:
    """Tiles (N, H, W, C) laid out row by row, at most so many in a row; black where none is."""
    count, height, width, channels = tiles.shape
    columns = min(most, count)
    rows = math.ceil(count / columns)
    laid = np.zeros((rows * columns, height, width, channels), np.uint8)
    laid[:count] = tiles
    laid = laid.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return Image.fromarray(laid.reshape(rows * height, columns * width, channels).squeeze())


def write_grid(folder: Path, grid: SampleGrid) -> Path:
    """Write the tiles as one PNG, whole or not at all; at most 8 tiles stand in a row."""
    _, height, width, _ = grid.tiles.shape
    image = sheet(grid.tiles, 8)
    notes = PngImagePlugin.PngInfo()
    notes.add_text(_KEY, json.dumps({"tile": [height, width], "seeds": list(grid.seeds)}))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=notes, optimize=True)
    path = folder / grid_name(grid.kind, grid.seeds, grid.images_seen)
    write_bytes_atomic(path, buffer.getvalue())
    return path


def read_grid(path: Path) -> SampleGrid:
    """Read a grid back into its tiles; UserError where the file is not one of ours."""
    name = _NAME.fullmatch(path.name)
    try:
        with Image.open(path) as image:
            notes = json.loads(str(image.info[_KEY]))
            laid = np.asarray(image, np.uint8)
        height, width = (int(side) for side in notes["tile"])
        seeds = tuple(int(seed) for seed in notes["seeds"])
        laid = laid.reshape(laid.shape[0], laid.shape[1], -1)
        rows, columns = laid.shape[0] // height, laid.shape[1] // width
        tiles = laid.reshape(rows, height, columns, width, -1).swapaxes(1, 2)
        tiles = tiles.reshape(rows * columns, height, width, -1)[: len(seeds)]
    except (KeyError, ValueError, TypeError, UnidentifiedImageError) as error:
        raise UserError(f"{path} is not a sample grid that Kurabe wrote; remove it.") from error
    except OSError as error:
        # Pillow's own faults, of a file cut short, have no number.
        if error.errno is None:
            raise UserError(f"{path} is damaged; remove it.") from error
        with naming(path):
            raise
    if name is None:
        raise UserError(f"{path} is not named as a sample grid; remove it.")
    return SampleGrid(tiles, seeds, name["kind"], int(name["seen"]))


def grids(folder: Path, kind: str) -> list[Path]:
    """The grids of one kind in a folder, by images seen; none where it is not there.

    Raises OSError where it cannot be listed.
    """
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    known = (found for name in sorted(names) if (found := _NAME.fullmatch(name)))
    return [folder / found.string for found in known if found["kind"] == kind]
