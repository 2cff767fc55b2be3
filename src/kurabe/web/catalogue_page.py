"""/{lang}/: the catalogue, with search, filters, and the methods chosen for a comparison.

One form holds all of it, so that searching keeps what was ticked and nothing needs a script.
"""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from kurabe.methods import SEED, Method, catalogue, search
from kurabe.web.address import at, language_of, methods_of, slugs_of
from kurabe.web.problems import short
from kurabe.web.site import Site
from kurabe.words.pages import word


@dataclass(frozen=True)
class Search:
    """What is looked for: words, a branch, and whether it must run here or be measured."""

    text: str
    branch: str | None
    runs: bool
    measured: bool
    study: str | None

    @property
    def query(self) -> list[tuple[str, str | None]]:
        """The search as a query."""
        return [
            ("q", self.text),
            ("branch", self.branch),
            ("runs", "1" if self.runs else None),
            ("measured", "1" if self.measured else None),
            ("study", self.study),
        ]


def pages(site: Site) -> list[BaseRoute]:
    """The catalogue."""

    def show(request: Request) -> Response:
        lang = language_of(request)
        path = f"/{lang}/"
        looked = search_of(request)
        slugs = slugs_of(request)
        chosen = methods_of(slugs)
        measured = frozenset[str]().union(*(entry.methods for entry in site.library.studies()))
        removal = {
            slug: at(path, [*looked.query, ("slugs", ",".join(s for s in slugs if s != slug))])
            for slug in slugs
        }
        return site.draw(
            request,
            "catalogue.html",
            title=word("catalogue", lang),
            methods=found_by(looked, measured),
            measured=measured,
            looked=looked,
            branches=branches(),
            chosen=chosen,
            removal=removal,
            pair=[catalogue()[slug] for slug in SEED],
            studies=site.library.holding(frozenset(SEED)),
        )

    return [Route("/{lang:lang}/", show)]


def search_of(request: Request) -> Search:
    """The search that a request asks for."""
    query = request.query_params
    branch = query.get("branch")
    return Search(
        short(query.get("q", "").strip(), 200),
        branch if branch in catalogue() else None,
        query.get("runs") == "1",
        query.get("measured") == "1",
        query.get("study") or None,
    )


def found_by(looked: Search, measured: frozenset[str]) -> list[Method]:
    """The methods that fit: the pair to begin with, those that run, the others.

    A branch is a family with all below it.
    """
    fits = [
        method
        for method in search(looked.text)
        if (looked.branch is None or looked.branch in (method.id, *method.card.broader))
        and (method.runs or not looked.runs)
        and (method.id in measured or not looked.measured)
    ]
    place = {slug: number for number, slug in enumerate(SEED)}
    return sorted(fits, key=lambda m: (place.get(m.id, len(place)), not m.runs, m.id))


def branches() -> list[Method]:
    """The methods that others are narrower forms of."""
    named = {key for method in catalogue().values() for key in method.card.broader}
    return [catalogue()[key] for key in sorted(named) if key in catalogue()]
