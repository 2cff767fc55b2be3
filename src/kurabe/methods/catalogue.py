"""The catalogue: every card, the choices of those methods that run, and forgiving look-up.

A method is one TOML file in cards/: a table [card], and where it runs here a table [choices];
a family has `default`, the narrower method that it runs, in place of choices of its own.
"""

import difflib
import re
import tomllib
import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib import resources

from pydantic import BaseModel, ConfigDict, model_validator

from kurabe.errors import UserError
from kurabe.methods.card import Card, Slug
from kurabe.methods.choices import Choices

# Spellings that a reader takes for the same word.
_SYNONYMS = {
    "自己教師付き": "自己教師あり",
    "ファインチューニング": "微調整",
    "デノイジング": "雑音除去",
    "ノイズ除去": "雑音除去",
}


class Method(BaseModel):
    """A card and what the method does.

    choices: the five choices, where the method runs here by itself.
    default: for a family, the id of the narrower method that it runs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    card: Card
    choices: Choices | None = None
    default: Slug | None = None

    @model_validator(mode="after")
    def _one_definition(self) -> "Method":
        if self.choices is not None and self.default is not None:
            raise ValueError("a method has choices of its own or a default, not both")
        return self

    @property
    def id(self) -> str:
        """The card's slug."""
        return self.card.id

    @property
    def runs(self) -> bool:
        """Whether the method runs here, by itself or through its default."""
        return self.choices is not None or self.default is not None


@cache
def catalogue() -> dict[str, Method]:
    """All methods by id, in alphabetical order of ids; treat it as read-only."""
    folder = resources.files("kurabe.methods") / "cards"
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda f: f.name
    )
    methods = [Method.model_validate(tomllib.loads(file.read_text("utf-8"))) for file in files]
    return {method.id: method for method in methods}


def choices_of(method: Method) -> Choices:
    """The five choices that a method runs; a family's are its default's.

    Raises UserError for a method that is in the catalogue only.
    """
    running = catalogue()[method.default] if method.default is not None else method
    if running.choices is None:
        raise UserError(
            f"{method.id} is described here but does not run; `kurabe methods` lists those that do."
        )
    return running.choices


def narrower(method: Method) -> list[Method]:
    """The methods that name this one as broader."""
    return [other for other in catalogue().values() if method.id in other.card.broader]


def normalise(text: str) -> str:
    """Text as it is compared: NFKC, lower case, katakana as hiragana, synonyms, no separators."""
    text = re.sub(r"[\s\-_・/()]+", "", unicodedata.normalize("NFKC", text).casefold())
    for spelling, common in _SYNONYMS.items():
        text = text.replace(spelling, common)
    return "".join(chr(ord(c) - 0x60) if "ァ" <= c <= "ヶ" else c for c in text)


def _names(method: Method) -> Iterator[str]:
    card = method.card
    yield from (card.id, card.name.ja, card.name.en, card.yomi, *card.aliases.ja, *card.aliases.en)


def find(text: str) -> Method:
    """The method that `text` names: by id, name, reading, alias, or a prefix that only one has.

    Raises UserError where none or several fit; it names the nearest ids.
    """
    methods = catalogue()
    if text in methods:
        return methods[text]
    wanted = normalise(text)
    names = {method.id: {normalise(name) for name in _names(method)} for method in methods.values()}
    exact = [key for key, known in names.items() if wanted in known]
    starts = [key for key, known in names.items() if any(n.startswith(wanted) for n in known)]
    fits = exact or (starts if wanted else [])
    if len(fits) == 1:
        return methods[fits[0]]
    if fits:
        raise UserError(f'"{text}" fits several methods: {", ".join(fits)}.')
    spoken = {name: key for key, known in names.items() for name in known}
    near = difflib.get_close_matches(wanted, spoken, n=3, cutoff=0.6)
    if near:
        ids = list(dict.fromkeys(spoken[name] for name in near))
        raise UserError(f'No method "{text}". Did you mean {" or ".join(ids)}?')
    raise UserError(f'No method "{text}". `kurabe methods` lists them all.')
