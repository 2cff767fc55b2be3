"""The catalogue: every card, the choices of those methods that run, and forgiving look-up.

A method is one TOML file in cards/: a table [card], and where it runs here a table [choices];
a family has `default`, the narrower method that it runs, in place of choices of its own. Other
packages have folders of such files, which the registry names; a person has one, which the
environment's KURABE_CARDS names.
"""

import difflib
import os
import re
import tomllib
import unicodedata
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from kurabe import registry
from kurabe.errors import UserError, sentence, shown
from kurabe.methods.card import Card, Slug
from kurabe.methods.choices import Choices

# The pair that the product was asked for with; what stands side by side where nothing is chosen.
SEED = ("transfer-learning-with-diffusion-models", "self-supervised-diffusion-model")

# The environment's word for the folder of a person's own cards.
OWN_CARDS = "KURABE_CARDS"

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
    origin: "own" where the card is the person's own; None for those that come with a package.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    card: Card
    choices: Choices | None = None
    default: Slug | None = None
    origin: Literal["own"] | None = None

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


def catalogue() -> dict[str, Method]:
    """All methods by id, in alphabetical order of ids; treat it as read-only.

    A card of another package that cannot be read, or whose id is taken, is left out and told
    among the registry's problems; a card of the person's own that is wrong is a UserError.
    """
    return registry.kept("catalogue", _read)


def shipped() -> dict[str, Method]:
    """The catalogue without the person's own cards."""
    return {key: method for key, method in catalogue().items() if method.origin is None}


def _read() -> dict[str, Method]:
    known = {method.id: method for _, method in _methods(_of_package("kurabe.methods:cards"))}
    for idea in registry.ideas("cards").values():
        try:
            for name, method in _methods(_of_package(idea.made_by)):
                if method.id in known:
                    raise ValueError(f"{name}: there is a method '{method.id}' already")
                known[method.id] = method
        except (ImportError, OSError, ValueError) as error:
            said = sentence(error) if isinstance(error, OSError) else " ".join(str(error).split())
            registry.left_out(f"Cards of the package {idea.package} are left out ({said}).")
    if given := os.environ.get(OWN_CARDS):
        known |= _own(Path(given).expanduser(), known)
    return dict(sorted(known.items()))


def _own(folder: Path, known: dict[str, Method]) -> dict[str, Method]:
    """The methods of the person's own cards; UserError names the file and the field that is wrong,
    an id that is taken, and a neighbour that is no method."""
    place = shown(folder)
    if not folder.is_dir():
        raise UserError(f"{place}, which {OWN_CARDS} names, is not a folder of cards.")
    own: dict[str, Method] = {}
    files: dict[str, str] = {}
    try:
        for name, method in sorted(_methods(folder), key=lambda one: one[0]):
            if method.id in known or method.id in own:
                raise ValueError(f"{name}: card.id: there is a method '{method.id}' already")
            own[method.id] = method.model_copy(update={"origin": "own"})
            files[method.id] = name
    except (OSError, ValueError) as error:
        said = sentence(error) if isinstance(error, OSError) else " ".join(str(error).split())
        raise UserError(f"{place}: {said.rstrip('.')}.") from None
    if not own:
        raise UserError(f"{place}, which {OWN_CARDS} names, holds no cards (.toml).")
    for key, method in own.items():
        named = {
            "card.related": method.card.related,
            "card.broader": method.card.broader,
            "default": (method.default,) if method.default else (),
        }
        for field, ids in named.items():
            if lost := [of for of in ids if of not in known and of not in own]:
                raise UserError(f"{place}: {files[key]}: {field}: there is no method '{lost[0]}'.")
    return own


def _of_package(folder: str) -> Traversable:
    """The folder that "package:folder" names."""
    package, _, below = folder.partition(":")
    return resources.files(package) / below


def _methods(folder: Traversable) -> Iterator[tuple[str, Method]]:
    """The methods of the TOML files in a folder, with the files' names."""
    for file in folder.iterdir():
        if file.name.endswith(".toml"):
            try:
                yield file.name, Method.model_validate(tomllib.loads(file.read_text("utf-8")))
            except ValidationError as error:
                problem = error.errors()[0]
                field = ".".join(str(part) for part in problem["loc"])
                raise ValueError(f"{file.name}: {field}: {problem['msg']}") from None
            except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
                raise ValueError(f"{file.name}: {error}") from None


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


def search(text: str) -> list[Method]:
    """The methods whose id, name, reading or an alias holds `text`; all of them for no text."""
    wanted = normalise(text)
    return [
        method
        for method in catalogue().values()
        if any(wanted in normalise(name) for name in _names(method))
    ]


def find(text: str) -> Method:
    """The one method that `text` names.

    Tried in turn: an id, a whole name, reading or alias, the beginning of an id, the beginning of
    a name, a part of one; the first that fits anything decides.

    Raises UserError where it fits several or nothing does; it names the ids that come near.
    """
    methods = catalogue()
    if text in methods:
        return methods[text]
    wanted = normalise(text)
    names = {key: [normalise(name) for name in _names(method)] for key, method in methods.items()}
    stages = (
        [key for key, known in names.items() if wanted in known],
        [key for key, known in names.items() if known[0].startswith(wanted)],
        [key for key, known in names.items() if any(name.startswith(wanted) for name in known)],
        [method.id for method in search(text)],
    )
    fits: list[str] = []
    if wanted:
        fits = next((stage for stage in stages if stage), fits)
    if len(fits) == 1:
        return methods[fits[0]]
    if fits:
        raise UserError(f'"{text}" fits several methods: {", ".join(fits)}.')
    near = _near(wanted, names)
    if near:
        raise UserError(f'No method "{text}". Did you mean {" or ".join(near)}?')
    raise UserError(f'No method "{text}". `kurabe methods` lists them all.')


def _near(wanted: str, names: dict[str, list[str]]) -> list[str]:
    """Ids with a name that resembles `wanted` about as much as the best does, at most three."""
    scores = {
        key: max(difflib.SequenceMatcher[str](None, wanted, name).ratio() for name in known)
        for key, known in names.items()
    }
    best = sorted(scores, key=lambda key: -scores[key])[:3]
    return [key for key in best if scores[key] >= max(0.6, scores[best[0]] - 0.1)]
