"""What methods are: their cards in Japanese and English, and the five choices that run them."""

from kurabe.methods.card import Aliases, Author, Card, Source, Summary, Text, Years
from kurabe.methods.catalogue import (
    OWN_CARDS,
    SEED,
    Method,
    catalogue,
    choices_of,
    find,
    narrower,
    normalise,
    search,
    shipped,
)
from kurabe.methods.choices import Choices, OptimiserOverrides, Sampling
from kurabe.methods.settings import AdaptationChoice, TermChoice

__all__ = [
    "OWN_CARDS",
    "SEED",
    "AdaptationChoice",
    "Aliases",
    "Author",
    "Card",
    "Choices",
    "Method",
    "OptimiserOverrides",
    "Sampling",
    "Source",
    "Summary",
    "TermChoice",
    "Text",
    "Years",
    "catalogue",
    "choices_of",
    "find",
    "narrower",
    "normalise",
    "search",
    "shipped",
]
