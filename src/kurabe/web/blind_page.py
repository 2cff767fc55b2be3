"""/{lang}/blind: pick the better of two unnamed sets of images; the share comes at the end.

The answers stand in the address, so nothing is stored. Which side a column stands on is drawn
from the address's seed, question by question; a picture's address does not tell it. The interval
is Clopper and Pearson's (1934), exact for a share.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from kurabe.comparison import study_table
from kurabe.comparison.build import column_of
from kurabe.comparison.drawings.page import Picture
from kurabe.comparison.numbers import number
from kurabe.comparison.results import RunResult, StudyResults
from kurabe.comparison.simulated_tables import Share
from kurabe.comparison.table import Table
from kurabe.errors import UserError
from kurabe.methods import catalogue
from kurabe.randomness import generator
from kurabe.records import SampleGrid, read_grid
from kurabe.web.address import at, language_of
from kurabe.web.grids import sheet, shown_size
from kurabe.web.problems import Problem, short
from kurabe.web.site import Site
from kurabe.words.pages import word

# Images a side in one question, in a row, the pixels they have, and questions at most.
_TILES = 4
_ACROSS = 2
_ROOM = 260
_MOST = 20


@dataclass(frozen=True)
class Question:
    """Tiles first … first + 3 of one block's two grids; `swapped` puts the second column left.

    tiles: a tile's height and width in either grid.
    """

    files: tuple[Path, Path]
    tiles: tuple[tuple[int, int], tuple[int, int]]
    first: int
    swapped: bool

    def of(self, side: str) -> int:
        """Which of the two stands on that side, "left" or "right"."""
        return int((side == "right") != self.swapped)


@dataclass(frozen=True)
class Blind:
    """The test that an address describes: two columns of a study, a seed, the answers so far."""

    study: str
    columns: tuple[str, str]
    seed: int
    answers: str

    def address(self, path: str, answers: str | None = None, **more: str) -> str:
        """The address of the test with other answers."""
        query = {"study": self.study, "first": self.columns[0], "second": self.columns[1],
                 "seed": str(self.seed), "answers": answers, **more}  # fmt: skip
        return at(path, list(query.items()))


def pages(site: Site) -> list[BaseRoute]:
    """The blind page and its pictures."""

    def show(request: Request) -> Response:
        lang = language_of(request)
        results = site.library.results(request.query_params.get("study", ""))
        blind = _blind(request, results)
        if "seed" not in request.query_params:
            return RedirectResponse(blind.address(request.url.path), 307)
        table = study_table(results, lang)
        context = _asked(blind, _questions(blind, results), request.url.path)
        if context is None or request.query_params.get("stop") == "1":
            names = {column.id: column.name for column in table.columns}
            context = _told(blind, _questions(blind, results), names, lang)
            context["again"] = at(
                request.url.path,
                [("study", blind.study), ("first", blind.columns[0]), ("second", blind.columns[1])],
            )
        return site.draw(
            request,
            "blind.html",
            title=word("question.blind", lang),
            blind=blind,
            columns=table.columns,
            **context,
        )

    def picture(request: Request) -> Response:
        results = site.library.results(request.query_params.get("study", ""))
        blind = _blind(request, results)
        place: int = request.path_params["place"]
        side: str = request.path_params["side"]
        questions = _questions(blind, results)
        if place >= len(questions) or side not in ("left", "right"):
            raise Problem(404, "problem.image")
        question = questions[place]
        file = question.files[question.of(side)]
        headers = {"Cache-Control": "private, max-age=600"}
        data = sheet(file, question.first, _TILES, _ACROSS)
        return Response(data, media_type="image/png", headers=headers)

    return [
        Route("/{lang:lang}/blind", show),
        Route("/blind-samples/{place:int}/{side}", picture),
    ]


def _blind(request: Request, results: StudyResults) -> Blind:
    query = request.query_params
    seed = query.get("seed", "")
    answers = query.get("answers", "")
    if not set(answers) <= {"L", "R"} or len(answers) > _MOST:
        raise Problem(400, "problem.answers", most=_MOST)
    return Blind(
        query.get("study", ""),
        (_column(query.get("first", ""), results), _column(query.get("second", ""), results)),
        int(seed) % 2**31 if seed.isascii() and seed.isdigit() and len(seed) < 12
        else int.from_bytes(os.urandom(3), "big"),
        answers,
    )  # fmt: skip


def _column(text: str, results: StudyResults) -> str:
    """A column of the study by its id, or by the method that it ran."""
    if text in {column.id for column in results.columns}:
        return text
    method = catalogue().get(text)
    if method is None:
        raise Problem(404, "problem.method", slug=short(text))
    column = column_of(method, results)
    if column is None:
        raise Problem(404, "problem.not-in-study", slug=method.id, name=short(results.name))
    return column


def blind_link(table: Table, study: str, results: StudyResults) -> str | None:
    """The address of a test of the first two columns that can be told apart by eye: both drew
    the same noise, as two columns of the study; None where there are no such two.
    """
    found: list[tuple[str, tuple[int, ...]]] = []
    for row in table.group("samples"):
        for column, cell in zip(table.columns, row.cells, strict=True):
            if cell.grid is None or len(cell.grid.seeds) < _TILES:
                continue
            source = _column(column.id, results)
            if not found or (source != found[0][0] and cell.grid.seeds == found[0][1]):
                found.append((source, cell.grid.seeds))
    if len(found) < 2:
        return None
    query = [("study", study), ("first", found[0][0]), ("second", found[1][0])]
    return at(f"/{table.lang}/blind", query)


def _questions(blind: Blind, results: StudyResults) -> list[Question]:
    """All the tiles that both columns drew from the same noise, four a question, in the order
    that the seed gives; Problem 404 where there are none.
    """
    found: list[Question] = []
    rng = generator(blind.seed, "blind")
    for block in sorted({block for _, block in results.runs}):
        runs = [results.runs.get((column, block)) for column in blind.columns]
        grids = [run and _newest(run) for run in runs]
        if not grids[0] or not grids[1] or grids[0][1].seeds != grids[1][1].seeds:
            continue
        files = (grids[0][0], grids[1][0])
        tiles = (grids[0][1].tiles.shape[1:3], grids[1][1].tiles.shape[1:3])
        found += [
            Question(files, tiles, first, bool(rng.integers(2)))
            for first in range(0, len(grids[0][1].seeds) - _TILES + 1, _TILES)
        ]
    if not found or blind.columns[0] == blind.columns[1]:
        raise Problem(404, "problem.grids")
    order: list[int] = rng.permutation(len(found)).tolist()
    return [found[place] for place in order[:_MOST]]


def _newest(run: RunResult) -> tuple[Path, SampleGrid] | None:
    paths = run.folder.sample_grids() or run.folder.sample_grids("progress")
    try:
        return (paths[-1], read_grid(paths[-1])) if paths else None
    except UserError:
        return None


def _asked(blind: Blind, questions: list[Question], path: str) -> dict[str, Any] | None:
    """The next question's pictures and ways on; None where all are answered."""
    place = len(blind.answers)
    if place >= len(questions):
        return None
    question = questions[place]
    return {
        "place": place + 1,
        "total": len(questions),
        "pictures": {
            side: Picture(
                blind.address(f"/blind-samples/{place}/{side}"),
                *shown_size(_TILES, question.tiles[question.of(side)], _ACROSS, _ROOM),
            )
            for side in ("left", "right")
        },
        "picks": {
            side: blind.address(path, blind.answers + side[0].upper()) for side in ("left", "right")
        },
        "stop": blind.address(path, blind.answers, stop="1") if place else None,
    }


def _told(
    blind: Blind, questions: list[Question], names: dict[str, str], lang: str
) -> dict[str, Any]:
    """How often the first column was picked, with its interval."""
    total = min(len(blind.answers), len(questions))
    picked = sum(
        (answer == "R") == question.swapped
        for answer, question in zip(blind.answers, questions, strict=False)
    )
    share = Share(picked, total)
    name = names[blind.columns[0]]
    shown = {
        "share": number(picked / total if total else 0.5, 2),
        "low": number(share.lower(0.975), 2),
        "high": number(share.upper(0.975), 2),
    }
    return {
        "result": word("blind.result", lang, total=total, found=picked, name=name),
        "interval": word("blind.share", lang, **shown),
        "pair": [names[column] for column in blind.columns],
    }
