"""What methods are: their cards in Japanese and English, and the five choices that run them."""

from kurabe.methods.card import Aliases, Author, Card, Source, Summary, Text, Years
from kurabe.methods.catalogue import (
    Method,
    catalogue,
    choices_of,
    find,
    narrower,
    normalise,
    search,
)
from kurabe.methods.choices import (
    Adaptation,
    Choices,
    Contrastive,
    Denoising,
    Full,
    LowRank,
    Masked,
    OptimiserOverrides,
    Sampling,
    Term,
    Untouched,
)

__all__ = [
    "Adaptation",
    "Aliases",
    "Author",
    "Card",
    "Choices",
    "Contrastive",
    "Denoising",
    "Full",
    "LowRank",
    "Masked",
    "Method",
    "OptimiserOverrides",
    "Sampling",
    "Source",
    "Summary",
    "Term",
    "Text",
    "Untouched",
    "Years",
    "catalogue",
    "choices_of",
    "find",
    "narrower",
    "normalise",
    "search",
]
