"""/api: the pages' objects as JSON, described by OpenAPI."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from kurabe.comparison import Table, compare, study_table
from kurabe.errors import UserError
from kurabe.methods import Method
from kurabe.web.address import methods_of
from kurabe.web.catalogue_page import Search, found_by
from kurabe.web.library import Library
from kurabe.web.problems import Problem
from kurabe.web.progress import StudyProgress, progress_of
from kurabe.words import Language

Lang = Annotated[Language, Query(description="The language of all words.")]
Name = Annotated[str, Query(max_length=400)]


class ErrorBody(BaseModel):
    """What is wrong, in words, and the ids that come near."""

    error: str
    near: list[str] = []


class StudyEntry(BaseModel):
    """A study in the list."""

    name: str
    methods: list[str]
    shipped: bool


class RunRecord(BaseModel):
    """A run's record: run.json, the recipe's text, scores by name, and the curve's lines."""

    info: dict[str, Any]
    status: str
    recipe: str
    scores: dict[str, Any]
    metrics: list[dict[str, Any]]


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 404, 414, 422, 500)
}


def router(library: Library) -> APIRouter:
    """The JSON twins over a library."""
    api = APIRouter(prefix="/api", responses=_ERRORS)
    _add_methods(api, library)
    _add_results(api, library)
    return api


def _add_methods(api: APIRouter, library: Library) -> None:
    """The catalogue and comparisons."""

    @api.get("/methods", response_model_exclude_none=True)
    def methods(
        q: Name = "", branch: Name = "", runs: bool = False, measured: bool = False
    ) -> list[Method]:
        """The catalogue, as the page searches it."""
        looked = Search(q, branch or None, runs, measured, None)
        known = frozenset[str]().union(*(entry.methods for entry in library.studies()))
        return found_by(looked, known)

    @api.get("/methods/{id}", response_model_exclude_none=True)
    def method(id: str) -> Method:
        """One card, and what the method runs."""
        return methods_of([id])[0]

    @api.get("/compare")
    def table(
        slugs: Annotated[str, Query(max_length=2000, description="Ids, joined by commas.")] = "",
        study: Name = "",
        lang: Lang = "en",
    ) -> Table:
        """Methods side by side; with a study's results where one is named."""
        ids = list(dict.fromkeys(part.strip() for part in slugs.split(",") if part.strip()))
        return compare(methods_of(ids), lang, library.results(study) if study else None)


def _add_results(api: APIRouter, library: Library) -> None:
    """Studies and runs."""

    @api.get("/studies")
    def studies() -> list[StudyEntry]:
        """All studies, one's own first."""
        return [
            StudyEntry(name=entry.name, methods=sorted(entry.methods), shipped=entry.shipped)
            for entry in library.studies()
        ]

    @api.get("/studies/{name:path}/progress")
    def progress(name: str, lang: Lang = "en") -> StudyProgress:
        """How far each run is."""
        return progress_of(name, library.results(name), lang)

    @api.get("/studies/{name:path}")
    def study(name: str, lang: Lang = "en") -> Table:
        """The study's table, all of its columns."""
        return study_table(library.results(name), lang)

    @api.get("/runs")
    def runs(
        method: Name = "",
        study: Name = "",
        status: Name = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    ) -> list[dict[str, Any]]:
        """The records of runs, newest first."""
        where = {"method": method, "study": study, "status": status}
        found = library.runs(**{key: value for key, value in where.items() if value})
        return [_published(info, library) for info in found[offset : offset + limit]]

    @api.get("/runs/{key:path}")
    def run(key: str, study: Name = "") -> RunRecord:
        """One run's record; of several with that id the one in `study`, else the newest."""
        folder = library.run(key, study or None)
        try:
            return RunRecord(
                info={**folder.info},
                status=folder.status,
                recipe=folder.recipe_toml,
                scores={**folder.scores()},
                metrics=folder.metrics(),
            )
        except UserError as error:
            raise Problem(422, "problem.unreadable", reason=library.published(error)) from error


def _published(info: Mapping[str, Any], library: Library) -> dict[str, Any]:
    """A run's record without its place on this machine."""
    told: dict[str, Any] = {key: value for key, value in info.items() if key != "path"}
    return told | {"error": library.published(told["error"])} if told.get("error") else told
