"""The words that a person reads, in every language: one module for each place where they are said.

A catalogue is key → the texts in the order of `LANGUAGES`. Another language is a name there, a text
behind each key of the modules here, one in each card of `kurabe.methods.cards` and `Text`, and one
where an idea says itself: `says` of adaptations, terms, conditions and guidances, `ja` and `en` of
the measured rows in `kurabe.comparison.metrics`.
"""

import locale
import os
import re
from collections.abc import Mapping
from typing import Literal, get_args

Language = Literal["ja", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
# Each in its own words.
LANGUAGE_NAMES: dict[str, str] = {"ja": "日本語", "en": "English"}

Texts = tuple[str, str]
"""One text for each of `LANGUAGES`."""


def text_of(texts: Texts, lang: str, values: Mapping[str, object]) -> str:
    """The text in that language, its places filled in, {name|one|many} by its value."""
    text = texts[LANGUAGES.index(lang if lang in LANGUAGES else "en")]
    return counted(text, values).format(**values) if values else text


def counted(text: str, values: Mapping[str, object]) -> str:
    """The text with each {name|one|many} settled by whether that value is one."""
    chosen = re.compile(r"\{(\w+)\|([^|{}]*)\|([^|{}]*)\}")
    return chosen.sub(lambda m: m[2] if str(values[m[1]]) == "1" else m[3], text)


def language(given: str | None = None) -> str:
    """`given`, or the locale's: Japanese where the locale is Japanese, else English."""
    if given is not None:
        return given
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return "ja" if value.startswith("ja") else "en"
    system = locale.getlocale()[0] or ""
    return "ja" if system.lower().startswith("ja") else "en"
