"""Sample grids for pages: the first tiles of a grid as one picture, laid out for a column.

A picture's address names the study and the file in its folder; nothing else can be asked for.
"""

import io
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from kurabe.comparison.drawings.page import TILES, DrawGrid, Picture
from kurabe.comparison.table import Grid
from kurabe.errors import UserError
from kurabe.records import read_grid
from kurabe.records.samples import Pixels
from kurabe.web.problems import Problem
from kurabe.web.site import Site

# Tiles in a row of a table's column at most, and the pixels that the narrowest column has.
_ACROSS = 3
_ROOM = 196
# Pixels between tiles, in the grid's own pixels.
_GAP = 1


def grid_pictures(study: str) -> DrawGrid:
    """How the pages show a grid: one picture of its first tiles, enlarged by the browser."""

    def draw(grid: Grid, file: str) -> tuple[Picture, ...]:
        count = min(TILES, len(grid.seeds))
        tile = (grid.height, grid.width)
        size = shown_size(count, tile, _in_column(grid.width), _ROOM)
        return (Picture(f"/samples/{quote(study)}?file={quote(file)}", *size),)

    return draw


def shown_size(count: int, tile: tuple[int, int], across: int, room: int) -> tuple[int, int]:
    """Width and height that a sheet of tiles (height, width) is shown at: the largest whole
    multiple of its own that is no wider than the room, else its own.
    """
    across = min(across, count)
    down = -(-count // across)
    high, wide = (n * (side + _GAP) - _GAP for n, side in zip((down, across), tile, strict=True))
    factor = max(1, room // wide)
    return wide * factor, high * factor


def _in_column(width: int) -> int:
    """How many tiles of that width stand in a row of a table's column."""
    return max(1, min(_ACROSS, (_ROOM + _GAP) // (width + _GAP)))


def _on_page(_: int) -> int:
    return 8


def pages(site: Site) -> list[BaseRoute]:
    """The pictures of studies and of single runs."""

    def of_study(request: Request) -> Response:
        folder = site.library.study(request.path_params["name"]).path
        return _picture(site, folder, request, TILES, _in_column)

    def of_run(request: Request) -> Response:
        folder = site.library.run(
            request.path_params["key"], request.query_params.get("study")
        ).path
        return _picture(site, folder, request, 32, _on_page)

    return [Route("/samples/{name:path}", of_study), Route("/run-samples/{key:path}", of_run)]


def _picture(
    site: Site, folder: Path, request: Request, most: int, across: Callable[[int], int]
) -> Response:
    path = site.library.sample_file(folder, request.query_params.get("file", ""))
    try:
        stat = path.stat()
        data = _png(path, stat.st_mtime_ns, most, across)
    except (OSError, UserError) as error:
        raise Problem(404, "problem.image") from error
    headers = {"Cache-Control": "private, max-age=60"}
    return Response(data, media_type="image/png", headers=headers)


@lru_cache(maxsize=256)
def _png(path: Path, stamp: int, most: int, across: Callable[[int], int]) -> bytes:
    tiles = read_grid(path).tiles[:most]
    return _laid(tiles, across(tiles.shape[2]))


def sheet(path: Path, first: int, count: int, across: int) -> bytes:
    """Tiles first … first + count − 1 of a grid as a PNG, so many in a row; gaps are clear.

    UserError where the file is not a grid.
    """
    return _laid(read_grid(path).tiles[first : first + count], across)


def _laid(tiles: Pixels, across: int) -> bytes:
    number, height, width, channels = tiles.shape
    across = min(across, number)
    down = -(-number // across)
    canvas = np.zeros((down * (height + _GAP) - _GAP, across * (width + _GAP) - _GAP, 4), np.uint8)
    for place, tile in enumerate(tiles):
        top, left = (place // across) * (height + _GAP), (place % across) * (width + _GAP)
        area = canvas[top : top + height, left : left + width]
        area[..., :3] = tile if channels == 3 else tile[..., :1]
        area[..., 3] = 255
    buffer = io.BytesIO()
    Image.fromarray(canvas).save(buffer, "PNG")
    return buffer.getvalue()
