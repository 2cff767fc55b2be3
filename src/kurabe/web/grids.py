"""Sample grids for pages: the first tiles of a grid as one picture, laid out for a column.

A picture's address names the study and the file in its folder; nothing else can be asked for.
"""

import io
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from kurabe.comparison.drawings.page import TILES, DrawGrid, Picture, shown_size
from kurabe.comparison.table import Grid
from kurabe.errors import UserError
from kurabe.records import read_grid
from kurabe.web.problems import Problem
from kurabe.web.site import Site

# Tiles in a row; a column of the table has room for so many.
_ACROSS = 3
# Pixels between tiles, in the grid's own pixels.
_GAP = 1


def grid_pictures(study: str) -> DrawGrid:
    """How the pages show a grid: one picture of its first tiles, enlarged by the browser."""

    def draw(grid: Grid, file: str) -> tuple[Picture, ...]:
        count = min(TILES, len(grid.seeds))
        across = min(_ACROSS, count)
        width, height = shown_size(grid)
        factor = width // grid.width
        down = -(-count // across)
        return (
            Picture(
                f"/samples/{quote(study)}?file={quote(file)}",
                across * width + (across - 1) * _GAP * factor,
                down * height + (down - 1) * _GAP * factor,
            ),
        )

    return draw


def pages(site: Site) -> list[BaseRoute]:
    """The pictures of studies and of single runs."""

    def of_study(request: Request) -> Response:
        folder = site.library.study(request.path_params["name"]).path
        return _picture(site, folder, request, TILES)

    def of_run(request: Request) -> Response:
        folder = site.library.run(
            request.path_params["key"], request.query_params.get("study")
        ).path
        return _picture(site, folder, request, 32)

    return [Route("/samples/{name:path}", of_study), Route("/run-samples/{key:path}", of_run)]


def _picture(site: Site, folder: Path, request: Request, most: int) -> Response:
    path = site.library.sample_file(folder, request.query_params.get("file", ""))
    try:
        stat = path.stat()
        across = _ACROSS if most == TILES else 8
        data = _png(path, stat.st_mtime_ns, 0, most, across)
    except (OSError, UserError) as error:
        raise Problem(404, "problem.image") from error
    headers = {"Cache-Control": "private, max-age=60"}
    return Response(data, media_type="image/png", headers=headers)


@lru_cache(maxsize=256)
def _png(path: Path, stamp: int, first: int, count: int, across: int) -> bytes:
    return sheet(path, first, count, across)


def sheet(path: Path, first: int, count: int, across: int) -> bytes:
    """Tiles first … first + count − 1 of a grid as a PNG, so many in a row; gaps are clear.

    UserError where the file is not a grid.
    """
    tiles = read_grid(path).tiles[first : first + count]
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
