"""Addresses: the whole state of a page, read from a request and written into links.

What is shared is what is seen, so each thing a reader can choose stands in the query, always in
the same order and never when it is at its default.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from starlette.requests import Request

from kurabe.methods import Method, catalogue, search
from kurabe.web.problems import Problem, short
from kurabe.words import LANGUAGES

MOST_COLUMNS = 8
# Longer addresses are answered with 414.
LONGEST = 8_000


@dataclass(frozen=True)
class View:
    """How a table is looked at; path is where, lang is in it.

    Attributes:
        slugs: the columns, in their order; None for a page whose columns are given otherwise.
        baseline, pin: a column's id; differences are taken from the one, the other stays in sight.
        only: whether rows that do not differ are left out.
        pairs: the key of the row whose pairs are spelt out.
    """

    path: str
    slugs: tuple[str, ...] | None = None
    study: str | None = None
    baseline: str | None = None
    pin: str | None = None
    only: bool = False
    pairs: str | None = None

    @property
    def query(self) -> dict[str, str | None]:
        """All that the address can say, by its name there; None where it says nothing of it."""
        return {
            "slugs": None if self.slugs is None else ",".join(self.slugs),
            "study": self.study,
            "baseline": self.baseline,
            "pin": self.pin,
            "only": "1" if self.only else None,
            "pairs": self.pairs,
        }

    def address(self, **changes: Any) -> str:
        """The address of this view with these changes."""
        view = replace(self, **changes)
        return at(view.path, view.query.items())

    def without(self, slug: str) -> str:
        """The address with one column fewer."""
        kept = tuple(other for other in self.slugs or () if other != slug)
        return self.address(
            slugs=kept,
            baseline=None if self.baseline == slug else self.baseline,
            pin=None if self.pin == slug else self.pin,
        )

    def moved(self, slug: str, places: int) -> str | None:
        """The address with a column so many places further right; None at the edge."""
        slugs = list(self.slugs or ())
        place = slugs.index(slug) + places
        if not 0 <= place < len(slugs):
            return None
        slugs.remove(slug)
        slugs.insert(place, slug)
        return self.address(slugs=tuple(slugs))

    def row(self, key: str) -> str:
        """The address in which this row's pairs are spelt out, or no longer."""
        return self.address(pairs=None if self.pairs == key else key) + f"#row-{quote(key)}"

    def other(self, path: str, **query: str | None) -> str:
        """Another address about the same columns and study."""
        slugs = None if self.slugs is None else ",".join(self.slugs)
        return at(path, [("slugs", slugs), ("study", self.study), *query.items()])


def at(path: str, query: Iterable[tuple[str, str | None]] = ()) -> str:
    """A path with what is given of a query; commas stay commas."""
    given = [f"{_quoted(key)}={_quoted(value)}" for key, value in query if value]
    return f"{path}?{'&'.join(given)}" if given else path


@lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    return quote(text, safe=",/")


def slugs_of(request: Request, key: str = "slugs") -> tuple[str, ...]:
    """The methods' ids in the query, each once; given by commas or again and again."""
    given = ",".join(request.query_params.getlist(key)).split(",")
    return tuple(dict.fromkeys(part.strip() for part in given if part.strip()))


def methods_of(slugs: Sequence[str]) -> list[Method]:
    """The methods; Problem 404 for an unknown one, 400 for more than a table shows."""
    known = catalogue()
    for slug in slugs:
        if slug not in known:
            near = [method.id for method in search(slug)[:5]] if len(slug) <= 80 else []
            raise Problem(404, "problem.method", slug=short(slug), near=near)
    if len(slugs) > MOST_COLUMNS:
        raise Problem(400, "problem.columns", n=len(slugs), most=MOST_COLUMNS)
    return [known[slug] for slug in slugs]


def language_of(request: Request) -> str:
    """The page's language: the address's, else the best that Accept-Language names, else en."""
    first = request.url.path.split("/")[1]
    if first in LANGUAGES:
        return first
    if (given := request.query_params.get("lang")) in LANGUAGES:
        return str(given)
    wanted: list[tuple[float, int, str]] = []
    for place, part in enumerate(request.headers.get("accept-language", "").split(",")):
        name, _, weight = part.strip().partition(";q=")
        language = name.split("-")[0].lower()
        if language in LANGUAGES:
            wanted.append((-_weight(weight), place, language))
    return min(wanted)[2] if wanted else "en"


def _weight(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0
