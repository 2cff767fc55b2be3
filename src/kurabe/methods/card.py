"""A method's card: what is known of it, in Japanese and English, with its checked sources.

No mathematics here. A card is a frozen value read from TOML; every text stands in both languages,
so that no page has to fall back from one to the other.
"""

import re
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

Line = Annotated[str, StringConstraints(min_length=1, pattern=r"^\S(.*\S)?$")]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]


def _prose(text: str) -> str:
    return " ".join(text.split())


def _joined(text: str) -> str:
    """Lines joined as Japanese is set: with a space only between two words in Latin letters."""
    return re.sub(r"(?<=[!-~])\n(?=[!-~])", " ", text.strip()).replace("\n", "")


Prose = Annotated[str, StringConstraints(min_length=1), AfterValidator(_prose)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Text(_Value):
    """One line in both languages."""

    ja: Line
    en: Line

    def of(self, lang: str) -> str:
        """The line in `lang`, "ja" or "en"."""
        return self.ja if lang == "ja" else self.en


class Summary(_Value):
    """A paragraph in both languages; line ends in the file are not kept."""

    ja: Annotated[str, AfterValidator(_joined), Field(min_length=120)]
    en: Annotated[Prose, Field(min_length=120)]

    def of(self, lang: str) -> str:
        """The paragraph in `lang`, "ja" or "en"."""
        return self.ja if lang == "ja" else self.en


class Formula(Text):
    """An equation in TeX's notation, and what it or its symbols are in both languages.

    spoken: the same in plain text, for a reader's ear; TeX's notation where there is none.
    """

    tex: Line
    spoken: Line | None = None


class Aliases(_Value):
    """Other names; the order is the order shown."""

    ja: tuple[Line, ...] = ()
    en: tuple[Line, ...] = ()


class Years(_Value):
    """When the method was proposed: a year or a range, and what the years stand for."""

    start: Annotated[int, Field(ge=1950, le=2100)]
    end: Annotated[int, Field(ge=1950, le=2100)]
    note: Text

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"the years end ({self.end}) before they start ({self.start})")
        return self

    def __str__(self) -> str:
        return str(self.start) if self.start == self.end else f"{self.start}–{self.end}"


class Author(_Value):
    """A person, or where only `family` is given an organisation, as in CSL-JSON."""

    family: Line
    given: Line | None = None

    def __str__(self) -> str:
        if self.given is None:
            return self.family
        parts = self.given.replace("-", " -").split()
        initials = " ".join(f"-{p[1]}." if p.startswith("-") else f"{p[0]}." for p in parts)
        return f"{self.family}, {initials.replace(' -', '-')}"


class Source(_Value):
    """A work that a card rests on, with the fields of CSL-JSON; `arxiv` is its number there.

    `checked` says how title and authors were held against the literature.
    """

    type: Annotated[str, StringConstraints(pattern=r"^(paper-conference|article-journal|article)$")]
    title: Line
    author: Annotated[tuple[Author, ...], Field(min_length=1)]
    issued: Annotated[int, Field(ge=1950, le=2100)]
    container_title: Annotated[Line | None, Field(alias="container-title")] = None
    volume: Line | None = None
    page: Annotated[str, StringConstraints(pattern=r"^\d+–\d+$")] | None = None
    DOI: Annotated[str, StringConstraints(pattern=r"^10\.\d{4,9}/\S+$")] | None = None
    arxiv: Annotated[str, StringConstraints(pattern=r"^\d{4}\.\d{4,5}$")] | None = None
    checked: Line

    @model_validator(mode="after")
    def _identified(self) -> Self:
        if self.DOI is None and self.arxiv is None:
            raise ValueError("a source needs a DOI or an arXiv number")
        return self

    @property
    def url(self) -> str:
        """Where the work is read: its arXiv page, which is open to all, else its DOI."""
        if self.arxiv is not None:
            return f"https://arxiv.org/abs/{self.arxiv}"
        return f"https://doi.org/{self.DOI}"

    @property
    def citation(self) -> str:
        """The reference in APA's order: authors (year). Title. Container, volume, pages."""
        names = [str(author) for author in self.author]
        if len(names) == 1:
            authors = names[0]
        elif len(names) <= 20:
            authors = ", ".join(names[:-1]) + ", & " + names[-1]
        else:
            authors = ", ".join(names[:19]) + ", … " + names[-1]
        container = self.container_title or f"arXiv:{self.arxiv}"
        place = ", ".join(part for part in (container, self.volume, self.page) if part)
        stop = "" if self.title.endswith(("?", "!")) else "."
        return f"{authors} ({self.issued}). {self.title}{stop} {place}."

    def csl(self, key: str) -> dict[str, Any]:
        """The work as a CSL-JSON item with the id `key`."""
        fields: dict[str, Any] = {
            "id": key,
            "type": self.type,
            "title": self.title,
            "author": [author.model_dump(exclude_none=True) for author in self.author],
            "issued": {"date-parts": [[self.issued]]},
            "container-title": self.container_title,
            "volume": self.volume,
            "page": self.page,
            "DOI": self.DOI or f"10.48550/arXiv.{self.arxiv}",
            "URL": self.url,
        }
        return {name: value for name, value in fields.items() if value is not None}


class Card(_Value):
    """What is known of a method.

    The first source is the original one (原典). `related` names other cards, both ways;
    `broader` names the families this one belongs to, which their own cards do not repeat.
    `yomi` is the reading in hiragana. `equation` is of methods whose choices do not say theirs.
    """

    id: Slug
    name: Text
    yomi: Annotated[str, StringConstraints(pattern=r"^[ぁ-ゖー]+$")]
    aliases: Aliases
    field: Text
    family: Text
    years: Years
    proposed_by: Text
    kind: Text
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    related: tuple[Slug, ...] = ()
    broader: tuple[Slug, ...] = ()
    equation: Formula | None = None
    summary: Summary
