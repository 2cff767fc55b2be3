"""/{lang}/studies and /{lang}/studies/{name}: a study's runs as they go on, and its table."""

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from kurabe.comparison import study_table
from kurabe.web.address import language_of
from kurabe.web.blind_page import blind_link
from kurabe.web.compare_page import exported, language_for, shown, view_of
from kurabe.web.curves import study_curves
from kurabe.web.progress import progress_of
from kurabe.web.site import Site
from kurabe.words.pages import word

# A study is looked up for its results.
_ORDER = ("measured", "samples", "how", "facts")


def pages(site: Site) -> list[BaseRoute]:
    """The list of studies, and the page of each."""

    def listed(request: Request) -> Response:
        lang = language_of(request)
        entries = site.library.studies()
        return site.draw(
            request,
            "studies.html",
            title=word("studies", lang),
            groups={
                "studies.own": [entry for entry in entries if not entry.shipped],
                "studies.shipped": [entry for entry in entries if entry.shipped],
            },
        )

    def show(request: Request) -> Response:
        lang, name = language_of(request), request.path_params["name"]
        results = site.library.results(name)
        table = study_table(results, lang)
        view = view_of(request, quote(f"/{lang}/studies/{name}"), None)
        context = shown(view, table, name, _ORDER)
        return site.draw(
            request,
            "study.html",
            title=word("study", lang, name=results.name),
            name=name,
            progress=progress_of(name, results, lang),
            names={column.id: column.name for column in table.columns},
            curves=study_curves(results, table),
            blind=blind_link(table, name, results),
            **context,
        )

    def export(request: Request) -> Response:
        name = request.path_params["name"]
        form = request.path_params["form"]
        table = study_table(site.library.results(name), language_for(request, form))
        return exported(request, table, form, "kurabe-study")

    return [
        Route("/{lang:lang}/studies", listed),
        Route("/{lang:lang}/studies/{name:path}/export/{form}", export),
        Route("/{lang:lang}/studies/{name:path}", show),
    ]
