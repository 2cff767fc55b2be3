"""/{lang}/data: the catalogue and the studies' raw values as files; where the facts are from."""

import csv
import io
from collections.abc import Callable
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from kurabe.comparison.results import StudyResults
from kurabe.web import dataset
from kurabe.web.address import language_of, methods_of
from kurabe.web.problems import Problem, short
from kurabe.web.site import Site
from kurabe.words.pages import word

# File name: media type, the words' key of what it is, how it is made from the site's address.
FILES: dict[str, tuple[str, str, Callable[[str], str]]] = {
    "kurabe.json": ("application/json", "data.json", lambda base: dataset.as_json()),
    "kurabe.csv": ("text/csv", "data.csv", lambda base: dataset.as_csv()),
    "kurabe.skos.jsonld": ("application/ld+json", "data.skos", dataset.as_skos),
    "kurabe.terms.jsonld": ("application/ld+json", "data.terms", dataset.as_terms),
    "kurabe.bib": ("application/x-bibtex", "data.bibtex", lambda base: dataset.as_bibtex()),
    "kurabe.croissant.json": ("application/ld+json", "data.croissant", dataset.as_croissant),
}
_RUN_COLUMNS = {
    "column": "sc:Text",
    "method": "sc:Text",
    "block": "sc:Integer",
    "seed": "sc:Integer",
    "status": "sc:Text",
    "metric": "sc:Text",
    "value": "sc:Float",
}


def pages(site: Site) -> list[BaseRoute]:
    """The data page and the files."""

    def show(request: Request) -> Response:
        lang = language_of(request)
        return site.draw(
            request,
            "data.html",
            title=word("data", lang),
            files=FILES,
            studies=site.library.studies(),
        )

    def file(request: Request) -> Response:
        name = request.path_params["file"]
        if name not in FILES:
            raise Problem(404, "problem.format", name=short(name))
        media, _, make = FILES[name]
        return _download(make(_base(request)), media, name)

    def runs(request: Request) -> Response:
        results = site.library.results(request.path_params["name"])
        return _download(runs_csv(results), "text/csv", "runs.csv")

    def described(request: Request) -> Response:
        name = request.path_params["name"]
        results = site.library.results(name)
        base, place = _base(request), quote(name)
        text = dataset.croissant(
            f"kurabe-study-{results.name}",
            f"Raw scores of every run of the study {results.name}.",
            f"{base}/en/studies/{place}",
            f"{base}/dataset/studies/{place}/runs.csv",
            runs_csv(results),
            _RUN_COLUMNS,
            dataset.CREDIT if site.library.is_shipped(results.folder) else {},
        )
        return _download(text, "application/ld+json", "croissant.json")

    def concept(request: Request) -> Response:
        method = methods_of([request.path_params["id"]])[0]
        return RedirectResponse(f"/{language_of(request)}/methods/{method.id}", 303)

    def all_concepts(request: Request) -> Response:
        return RedirectResponse(f"/{language_of(request)}/", 303)

    return [
        Route("/{lang:lang}/data", show),
        # The ids of the vocabularies lead to what they are about.
        Route("/dataset/methods", all_concepts),
        Route("/dataset/terms", all_concepts),
        Route("/dataset/methods/{id}", concept),
        Route("/dataset/studies/{name:path}/runs.csv", runs),
        Route("/dataset/studies/{name:path}/croissant.json", described),
        Route("/dataset/{file}", file),
    ]


def runs_csv(results: StudyResults) -> str:
    """One line a run and metric; a run without scores stands in one line with its status."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(_RUN_COLUMNS)
    methods = {column.id: column.method for column in results.columns}
    for (column, block), run in results.runs.items():
        head = [column, methods.get(column, ""), block, run.info.get("seed", block), run.status]
        scores = [(key, score.get("value")) for key, score in run.metrics.items()]
        for metric, value in scores or [("", None)]:
            writer.writerow([*head, metric, "" if value is None else repr(float(value))])
    return buffer.getvalue()


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _download(text: str, media: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type=media, headers=headers)
