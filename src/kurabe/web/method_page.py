"""/{lang}/methods/{id}: a card, the method's equation and recipe, its results, its neighbours."""

from dataclasses import dataclass

import tomli_w
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from kurabe.comparison import compare
from kurabe.comparison.drawings.page import sections_of
from kurabe.comparison.table import Table
from kurabe.methods import Method, catalogue, choices_of
from kurabe.methods.card import Formula
from kurabe.web.address import language_of, methods_of
from kurabe.web.grids import grid_pictures
from kurabe.web.library import Library
from kurabe.web.site import Site
from kurabe.web.tex import mathml

# Of so many studies the results stand on the page; all of them are linked.
_SHOWN = 2


def pages(site: Site) -> list[BaseRoute]:
    """The methods' pages."""

    def show(request: Request) -> Response:
        lang = language_of(request)
        method = methods_of([request.path_params["id"]])[0]
        facts = compare([method], lang)
        entries = site.library.holding(frozenset([method.id]))
        return site.draw(
            request,
            "method.html",
            title=method.card.name.of(lang),
            method=method,
            facts=facts,
            facts_sections=sections_of(facts, ("facts", "how"), grid_pictures("")),
            equations=_equations(method, lang),
            default=catalogue()[method.default] if method.default else None,
            recipe=_recipe(method),
            results=[
                (entry, *_measured(site.library, method, entry.name, lang))
                for entry in entries[:_SHOWN]
            ],
            entries=entries,
            neighbours=_neighbours(method),
        )

    return [Route("/{lang:lang}/methods/{id}", show)]


@dataclass(frozen=True)
class Equation:
    """A formula as MathML and in plain text for a reader's ear; what it is, or its symbols are.

    shares_notation: whether it is written in the notation that all objectives share.
    """

    mathml: Markup
    spoken: str
    label: str
    shares_notation: bool


def _equations(method: Method, lang: str) -> tuple[Equation, ...]:
    """The objective's terms, the update that an adaptation makes, and what guides the samples.

    Of a method that trains nothing here, its card's.
    """
    found: list[Formula] = []
    if method.runs:
        choices = choices_of(method)
        found += [term.shown() for term in choices.objective]
        found += [update] if (update := choices.adaptation.formula()) else []
        guidance = choices.sampling.guidance
        found += [] if guidance is None else [guidance.formula()]
    own = method.card.equation
    shown = found or ([own] if own else [])
    return tuple(
        Equation(mathml(of.tex), of.spoken or of.tex, of.of(lang), bool(found)) for of in shown
    )


def _recipe(method: Method) -> str | None:
    if not method.runs:
        return None
    choices = choices_of(method).model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps({"method": method.id, "choices": choices})


def _measured(library: Library, method: Method, study: str, lang: str) -> tuple[Table, object]:
    table = compare([method], lang, library.results(study))
    return table, sections_of(table, ("measured", "samples"), grid_pictures(study))


def _neighbours(method: Method) -> dict[str, list[Method]]:
    """Related, broader and narrower methods, by the words they stand under."""
    known = catalogue()
    found = {
        "broader": [known[key] for key in method.card.broader if key in known],
        "narrower": [m for m in known.values() if method.id in m.card.broader],
        "related": [known[key] for key in method.card.related if key in known],
    }
    return {key: methods for key, methods in found.items() if methods}
