"""What all pages share: the library, the templates, and the frame that a page is drawn in."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from jinja2 import ChoiceLoader, Environment, PackageLoader
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from kurabe.comparison.drawings.page import page_environment
from kurabe.methods import SEED
from kurabe.web.address import language_of
from kurabe.web.library import Library
from kurabe.words import LANGUAGE_NAMES, LANGUAGES
from kurabe.words.pages import word

Page = Callable[[Request], Response]


class Site:
    """The library and the templates; page modules draw with it."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self._templates = _environment()

    def compile(self) -> None:
        """Compile all templates now rather than at the first look at a page."""
        for name in self._templates.list_templates(extensions=("html",)):
            self._templates.get_template(name)

    def draw(
        self, request: Request, template: str, status: int = 200, **context: Any
    ) -> HTMLResponse:
        """A whole page from a template and what it shows."""
        lang = language_of(request)
        page = self._templates.get_template(template).render(
            lang=lang,
            path=request.url.path,
            languages=LANGUAGE_NAMES,
            addresses={other: _in_language(request, other) for other in LANGUAGES},
            seed_address=f"/{lang}/compare?slugs={','.join(SEED)}",
            **context,
        )
        return HTMLResponse(page, status)


def _environment() -> Environment:
    """The table's templates beside the pages' own, with the same escaping."""
    loader = ChoiceLoader(
        [PackageLoader("kurabe.web", "templates"), PackageLoader("kurabe.comparison", "templates")]
    )
    environment = page_environment().overlay(loader=loader)
    shared: dict[str, Any] = environment.globals  # pyright: ignore
    environment.globals = {
        **shared,
        "word": word,
        "linked": True,
        "marks": ("≠", "≈", "?", "—"),
    }
    return environment


def _in_language(request: Request, lang: str) -> str:
    """The same page in another language."""
    first, rest = request.url.path.split("/")[1], request.url.path
    inner = rest[len(first) + 1 :] if first in LANGUAGES else "/"
    query = f"?{request.url.query}" if request.url.query else ""
    return f"/{lang}{quote(inner)}{query}"


def in_readers_language(request: Request) -> Response:
    """The same address below the language that the reader's browser asks for."""
    query = f"?{request.url.query}" if request.url.query else ""
    target = f"/{language_of(request)}{quote(request.url.path)}{query}"
    return RedirectResponse(target, 307, {"Vary": "Accept-Language"})
