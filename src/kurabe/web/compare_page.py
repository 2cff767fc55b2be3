"""/{lang}/compare: methods side by side, and the same table as files.

The address holds everything that is chosen; a request in another form of it is led to that one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from kurabe.comparison import FORMATS, compare, draw_png
from kurabe.comparison.drawings.page import baseline_of, sections_of
from kurabe.comparison.table import GROUPS, Group, Row, Table
from kurabe.errors import UserError
from kurabe.methods import SEED, catalogue
from kurabe.web.address import MOST_COLUMNS, View, language_of, methods_of, slugs_of
from kurabe.web.blind_page import blind_link
from kurabe.web.curves import study_curves
from kurabe.web.grids import grid_pictures
from kurabe.web.problems import Problem, short
from kurabe.web.site import Site
from kurabe.words.table import joined


class Export(NamedTuple):
    """A form of file that a table is offered in."""

    name: str
    media: str
    ending: str


EXPORTS = {
    "csv": Export("CSV", "text/csv", "csv"),
    "json": Export("JSON", "application/json", "json"),
    "markdown": Export("Markdown", "text/markdown", "md"),
    "latex": Export("LaTeX", "application/x-tex", "tex"),
    "bibtex": Export("BibTeX", "application/x-bibtex", "bib"),
    "html": Export("HTML", "text/html", "html"),
    "svg": Export("SVG", "image/svg+xml", "svg"),
    "png": Export("PNG", "image/png", "png"),
}
# Of what is measured alone.
_PLOTS = ("svg", "png")
# The one file that shows differences from the baseline.
_WITH_DELTAS = "html"


@dataclass(frozen=True)
class Tools:
    """What a reader can do with a view of a table; all of it leads to another address."""

    view: View
    table: Table
    baseline: str | None

    def sort(self, row: Row) -> str | None:
        """The address with the columns in the order of this row, the best first."""
        if self.view.slugs is None or row.better is None:
            return None
        means = {c.id: v for c, v in zip(self.table.columns, row.values, strict=True)}
        known = [slug for slug in self.view.slugs if means.get(slug) is not None]
        known.sort(key=lambda slug: means[slug], reverse=row.better == "up")
        rest = tuple(slug for slug in self.view.slugs if slug not in known)
        ordered = (*known, *rest)
        return None if ordered == self.view.slugs else self.view.address(slugs=ordered)

    @property
    def measured(self) -> bool:
        """Whether there is anything to take a difference from."""
        return any(row.pairs for row in self.table.rows)


def pages(site: Site) -> list[BaseRoute]:
    """The compare page and its exports."""

    def show(request: Request) -> Response:
        lang = language_of(request)
        view = view_of(request, f"/{lang}/compare", slugs_of(request))
        if leads := _canonical(request, view):
            return RedirectResponse(leads, 307)
        methods = methods_of(view.slugs or ())
        results = site.library.results(view.study) if view.study else None
        table = compare(methods, lang, results)
        full = len(methods) >= MOST_COLUMNS
        others = [] if full else [m for m in catalogue().values() if m.id not in (view.slugs or ())]
        return site.draw(
            request,
            "compare.html",
            title=table.title,
            others=others,
            full=full,
            studies=site.library.holding(frozenset(view.slugs or SEED)),
            credited=joined([m.card.name.of(lang) for m in methods if m.id in SEED] or [""], lang),
            curves=study_curves(results, table) if results else None,
            blind=blind_link(table, view.study, results) if view.study and results else None,
            **shown(view, table, view.study),
        )

    def bring(request: Request) -> Response:
        name = site.library.brought(request.query_params.get("path", "").strip())
        return RedirectResponse(f"/{language_of(request)}/studies/{quote(name)}", 303)

    def export(request: Request) -> Response:
        form = request.path_params["form"]
        methods = methods_of(slugs_of(request))
        study = request.query_params.get("study")
        results = site.library.results(study) if study else None
        table = compare(methods, language_for(request, form), results)
        return exported(request, table, form, "kurabe-compare")

    return [
        Route("/{lang:lang}/compare", show),
        Route("/{lang:lang}/compare/bring", bring),
        Route("/{lang:lang}/compare/export/{form}", export),
    ]


def shown(
    view: View, table: Table, study_name: str | None, groups: Sequence[Group] = GROUPS
) -> dict[str, Any]:
    """What every page that holds a table gives its template."""
    table = _from_baseline(table, view.baseline)
    baseline = view.baseline or baseline_of(table)
    draw = grid_pictures(study_name or "")
    sections = sections_of(
        table, groups, draw, baseline, with_pairs=lambda row: row.key == view.pairs
    )
    if view.only:
        sections = [
            type(section)(section.heading, section.group, rows)
            for section in sections
            if (rows := tuple(row for row in section.rows if row.row.mark == "≠"))
        ]
    return {
        "view": view,
        "table": table,
        "sections": sections,
        "baseline": baseline,
        "tools": Tools(view, table, baseline),
        "exports": _exports(view, table),
    }


def _from_baseline(table: Table, baseline: str | None) -> Table:
    """The table with its differences taken from that column; Problem 400 where it has none."""
    if baseline is None:
        return table
    if baseline not in {column.id for column in table.columns}:
        raise Problem(400, "problem.baseline", name=short(baseline))
    study = table.study and table.study.model_copy(update={"baseline": baseline})
    return table.model_copy(update={"study": study})


def _exports(view: View, table: Table) -> list[tuple[str, str]]:
    """Name and address of each file that the table is offered as."""
    found: list[tuple[str, str]] = []
    for form, kind in EXPORTS.items():
        if form in _PLOTS and not table.group("measured"):
            continue
        path = f"{view.path}/export/{form}"
        baseline = view.baseline if form == _WITH_DELTAS else None
        found.append((kind.name, view.other(path, baseline=baseline)))
        if form == "latex" and table.lang == "ja":
            found.append(("LuaLaTeX", view.other(path, engine="lualatex")))
    return found


def exported(request: Request, table: Table, form: str, name: str) -> Response:
    """The table as a file."""
    if form not in EXPORTS:
        raise Problem(404, "problem.format", name=short(form))
    kind = EXPORTS[form]
    if form == _WITH_DELTAS:
        table = _from_baseline(table, request.query_params.get("baseline") or None)
    headers = {"Content-Disposition": f'attachment; filename="{name}.{kind.ending}"'}
    try:
        content = draw_png(table) if form == "png" else FORMATS[form](table)
    except UserError as error:
        raise Problem(404, "problem.no-plots") from error
    return Response(content, media_type=kind.media, headers=headers)


def language_for(request: Request, form: str) -> str:
    """The reader's language; English where a PNG's font or a LaTeX without Lua has no other."""
    latin = form == "png" or (form == "latex" and request.query_params.get("engine") != "lualatex")
    return "en" if latin else language_of(request)


def view_of(request: Request, path: str, slugs: tuple[str, ...] | None) -> View:
    """The view that a request asks for."""
    query = request.query_params
    return View(
        path,
        slugs,
        study=query.get("study") or None,
        baseline=query.get("baseline") or None,
        pin=query.get("pin") if query.get("pin") in (slugs or ()) else None,
        only=query.get("only") == "1",
        pairs=query.get("pairs") or None,
    )


def _canonical(request: Request, view: View) -> str | None:
    """The address in its one form, where the request has another or says what a view has not."""
    given = request.query_params.getlist("slugs")
    known = view.query
    if set(request.query_params) <= set(known) and given in ([], [known["slugs"]]):
        return None
    return view.address()
