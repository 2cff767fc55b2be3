"""The application: all pages and the API over one library, with what protects them.

No page holds a script or a style of its own, so the Content-Security-Policy allows the site's
files and nothing else. Pages can only be read.
"""

import gc
import logging
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

from anyio import to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kurabe.comparison.drawings.page import style_sheet
from kurabe.errors import refusal
from kurabe.web import (
    api,
    blind_page,
    catalogue_page,
    compare_page,
    data_page,
    grids,
    method_page,
    run_page,
    study_page,
)
from kurabe.web.address import LONGEST, language_of
from kurabe.web.library import Library
from kurabe.web.problems import Problem, short
from kurabe.web.site import Site, in_readers_language
from kurabe.words import LANGUAGES
from kurabe.words.pages import word

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_AT_ONCE = 2
_PAGES = (catalogue_page, compare_page, method_page, study_page, run_page, blind_page, data_page)


class _Language(Convertor[str]):
    """One of the languages, as the first part of a path."""

    regex = "|".join(LANGUAGES)

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("lang", _Language())


def create_app(library: Library) -> FastAPI:
    """The site over a library, whose index it keeps up to date while it runs."""
    site = Site(library)

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncGenerator[None]:
        # Pages are computation: a few at a time, in turn, are answered sooner than all at once.
        to_thread.current_default_thread_limiter().total_tokens = _AT_ONCE
        site.compile()
        # A full collection looks at all that lives and holds every page up while it does. What is
        # there by now stays to the end, so it is left out.
        gc.collect()
        gc.freeze()
        stop = threading.Event()
        watcher = threading.Thread(target=library.watch, args=(stop,), daemon=True)
        watcher.start()
        yield
        stop.set()
        gc.unfreeze()

    app = FastAPI(
        title="Kurabe",
        description="Diffusion methods side by side: catalogue, studies, runs, and the one table.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=living,
        middleware=[Middleware(Guard, site=site)],
        exception_handlers=_handlers(site),
    )
    app.include_router(api.router(library))
    app.router.routes.extend(_routes(site))
    return app


def _routes(site: Site) -> list[BaseRoute]:
    static = str(resources.files("kurabe.web") / "static")
    routes: list[BaseRoute] = [route for page in _PAGES for route in page.pages(site)]
    routes += grids.pages(site)
    routes += [
        Route("/", in_readers_language),
        *(
            Route(f"/{path}", in_readers_language)
            for path in ("compare", "data", "studies", "blind", "studies/{rest:path}",
                         "methods/{rest:path}", "runs/{rest:path}")
        ),
        Route("/{lang:lang}", _with_slash),
        Route("/static/table.css", _style),
        Mount("/static", StaticFiles(directory=static)),
    ]  # fmt: skip
    return routes


def _with_slash(request: Request) -> Response:
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{request.url.path}/{query}", 307)


def _style(_: Request) -> Response:
    return Response(style_sheet(), media_type="text/css")


class Guard:
    """Refuses addresses that are too long, and adds what browsers are to hold a page to."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self.app = app
        self.site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(key.encode(), value.encode()) for key, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > LONGEST:
            # The answer must not carry the address on; its first part says in which form and
            # language it is.
            first = scope["path"].split("/")[1][:3]
            scope = {**scope, "query_string": b"", "path": f"/{first}/" if first else "/"}
            answer = _answer(self.site, Request(scope), Problem(414, "problem.long"))
            await answer(scope, receive, guarded)
            return
        await self.app(scope, receive, guarded)


def _handlers(site: Site) -> dict[Any, Any]:
    def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return _answer(site, request, error)

    def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            answer = _answer(site, request, Problem(405, "problem.method-not-allowed"))
            answer.headers["Allow"] = "GET" if _is_api(request) else "GET, HEAD"
            return answer
        first = request.url.path.split("/")[1]
        if len(first) == 2 and first not in LANGUAGES:
            return _answer(site, request, Problem(404, "problem.language", name=first))
        path = short(request.url.path)
        return _answer(site, request, Problem(error.status_code, "problem.page", path=path))

    def value(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:])
        return _answer(site, request, Problem(422, "problem.value", name=name, why=first["msg"]))

    def refused(request: Request, error: Exception) -> Response:
        # What the system refuses now it may give later: no fault of the page, nor of the address.
        assert isinstance(error, OSError)
        reason = site.library.published(refusal(error))
        return _answer(site, request, Problem(503, "problem.unreadable", reason=reason))

    def inside(request: Request, error: Exception) -> Response:
        logging.getLogger("kurabe.web").error("%s failed", request.url.path, exc_info=error)
        return _answer(site, request, Problem(500, "problem.inside"))

    return {
        Problem: problem,
        HTTPException: http,
        RequestValidationError: value,
        OSError: refused,
        Exception: inside,
    }


def _is_api(request: Request) -> bool:
    return request.url.path.startswith("/api/")


def _answer(site: Site, request: Request, problem: Problem) -> Response:
    lang = language_of(request)
    values = {key: value for key, value in problem.values.items() if key != "near"}
    text = word(problem.key, lang, **values)
    near = problem.values.get("near", [])
    if _is_api(request):
        return JSONResponse({"error": text, "near": near}, problem.status)
    return site.draw(
        request,
        "problem.html",
        problem.status,
        title=word("problem.title", lang),
        text=text,
        near=near,
    )
