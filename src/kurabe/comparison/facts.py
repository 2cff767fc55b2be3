"""Rows that are taken from a method's definition: the card's facts, and how the method works.

Values are compared typed, never as the strings shown: years as ranges, related methods as sets,
sources by their identifiers, choices by their settings. Aliases are names, not properties, and
carry no mark.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kurabe import registry
from kurabe.comparison.table import Cell, Link, Row
from kurabe.errors import UserError
from kurabe.methods import Card, Choices, Method, Text, catalogue, choices_of
from kurabe.methods.card import Summary
from kurabe.recipe import Recipe
from kurabe.words.outside import say
from kurabe.words.table import word

NOTHING = "—"


def fact_rows(methods: Sequence[Method | None], lang: str) -> tuple[Row, ...]:
    """The seed's nine rows in the seed's order; what has no card has nothing in them."""
    if None in methods:
        return _with_gaps(methods, lang)
    cards = [method.card for method in methods if method is not None]
    return (
        _row("field", [_text(card.field, lang) for card in cards], _each(cards, "field"), lang),
        _row("family", [_text(card.family, lang) for card in cards], _each(cards, "family"), lang),
        _row(
            "proposed_year",
            [Cell(text=str(card.years), note=card.years.note.of(lang)) for card in cards],
            [(card.years.start, card.years.end) for card in cards],
            lang,
        ),
        _row(
            "proposed_by",
            [_text(card.proposed_by, lang) for card in cards],
            _each(cards, "proposed_by"),
            lang,
        ),
        _row("kind", [_text(card.kind, lang) for card in cards], _each(cards, "kind"), lang),
        _row(
            "source",
            [_source(card, lang) for card in cards],
            [card.sources[0].DOI or card.sources[0].arxiv for card in cards],
            lang,
        ),
        _row("aliases", [_aliases(card, lang) for card in cards], None, lang, _listed),
        _related_row(cards, lang),
        _row(
            "summary",
            [Cell(text=card.summary.of(lang)) for card in cards],
            _each(cards, "summary"),
            lang,
        ),
        *_whose_rows([method for method in methods if method is not None], lang),
    )


def _whose_rows(methods: Sequence[Method], lang: str) -> tuple[Row, ...]:
    """Whose card each is, where one of them is the reader's own."""
    if all(method.origin is None for method in methods):
        return ()
    cells = [Cell(text=word(f"card.{method.origin or 'shipped'}", lang)) for method in methods]
    return (_row("card", cells, [method.origin for method in methods], lang),)


def _with_gaps(methods: Sequence[Method | None], lang: str) -> tuple[Row, ...]:
    """The rows of those that have a card, with empty cells where the others stand."""
    gap = Cell(text=NOTHING, note=say("no-card", lang))
    known = [method for method in methods if method is not None]
    rows: list[Row] = []
    for row in fact_rows(known, lang):
        cells, values = iter(row.cells), iter(row.values)
        filled = {
            "cells": tuple(gap if method is None else next(cells) for method in methods),
            "values": tuple(None if method is None else next(values) for method in methods),
        }
        rows.append(row.model_copy(update=filled))
    return tuple(rows)


def how_rows(
    methods: Sequence[Method | None], lang: str, chosen: Sequence[Choices | None] = ()
) -> tuple[Row, ...]:
    """Start, space, condition, adaptation, objective, sampling and what trains, from the choices.

    chosen: for each method what a study's runs chose, where that is known; else the method's own.
    """
    known = chosen or [None] * len(methods)
    choices = [
        of or (method and _choices(method)) for of, method in zip(known, methods, strict=True)
    ]
    described: dict[str, Callable[[Choices], tuple[str, Any]]] = {
        "start": lambda c: (word(f"start.{_start(c)}", lang), _start(c)),
        "space": lambda c: (word(f"space.{c.space}", lang), c.space),
        "condition": lambda c: (_condition(c, lang), c.condition),
        "adaptation": lambda c: (c.adaptation.sentence(lang), c.adaptation),
        "objective": lambda c: (_objective(c, lang), frozenset(c.objective)),
        "sampling": lambda c: (_sampling(c, lang), c.sampling),
        "trainable": lambda c: (_trainable(c, lang), (c.adaptation, _head(c))),
    }
    rows: list[Row] = []
    for key, describe in described.items():
        found = [None if c is None else describe(c) for c in choices]
        cells = [
            Cell(text=NOTHING, note=word("does-not-run", lang)) if f is None else Cell(text=f[0])
            for f in found
        ]
        typed = [f[1] for f in found if f is not None]
        rows.append(_row(key, cells, typed, lang, group="how"))
    return tuple(rows)


@dataclass(frozen=True)
class LearningRate:
    """A column's rate, of how many tried it is the best, and whether it lies at their end."""

    rate: float
    tried: int = 0
    on_edge: bool = False


def learning_rate_row(rates: Sequence[LearningRate | None], lang: str) -> Row:
    """Each column's learning rate in a study, with the number of rates that were tried for it."""
    cells: list[Cell] = []
    for of in rates:
        if of is None:
            cells.append(Cell(text=NOTHING))
            continue
        key = "given" if of.tried == 0 else "edge" if of.on_edge else "tried"
        cells.append(Cell(text=word(f"rate.{key}", lang, rate=f"{of.rate:g}", n=of.tried)))
    typed = [(of.rate, of.tried) for of in rates if of is not None]
    return _row("learning-rate", cells, typed, lang, group="how")


def settings_row(recipes: Sequence[Recipe | None], lang: str) -> Row | None:
    """What the columns of a study set apart in network and optimiser, the rate aside.

    None where there is no such setting. A base brings its own network.
    """
    given = [{} if of is None else _settings(of) for of in recipes]
    keys = dict.fromkeys(key for of in given for key in of)
    apart = [key for key in keys if len({repr(of[key]) for of in given if key in of}) > 1]
    said = [[f"{key} = {of[key]}" for key in apart if key in of] for of in given]
    cells = [Cell(text=", ".join(of) or NOTHING) for of in said]
    return _row("settings", cells, said, lang, group="how") if apart else None


def _settings(recipe: Recipe) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    if recipe.choices.start == "random":
        parts |= {f"network.{key}": value for key, value in recipe.network}
    if recipe.choices.trains:
        parts |= {f"optimiser.{key}": value for key, value in recipe.optimiser if key != "lr"}
    return parts


def _row(
    key: str,
    cells: Sequence[Cell],
    typed: Sequence[Any] | None,
    lang: str,
    value: Callable[[Cell], Any] = lambda cell: None if cell.text == NOTHING else cell.text,
    group: str = "facts",
) -> Row:
    differ = typed is not None and any(other != typed[0] for other in typed[1:])
    return Row.model_validate(
        {
            "group": group,
            "key": key,
            "label": word(key, lang),
            "values": tuple(value(cell) for cell in cells),
            "mark": "≠" if differ else None,
            "cells": tuple(cells),
        }
    )


def _each(cards: Sequence[Card], field: str) -> list[Text | Summary]:
    return [getattr(card, field) for card in cards]


def _text(text: Text, lang: str) -> Cell:
    literal = text.en if lang == "ja" and text.en != text.ja else None
    return Cell(text=text.of(lang), literal=literal)


def _source(card: Card, lang: str) -> Cell:
    source = card.sources[0]
    return Cell(text=source.citation, links=(Link(text=word("link", lang), url=source.url),))


def _aliases(card: Card, lang: str) -> Cell:
    names = card.aliases.en + card.aliases.ja if lang == "ja" else card.aliases.en
    return Cell(
        text=", ".join(names) or NOTHING, items=tuple(Link(text=name, url="") for name in names)
    )


def _listed(cell: Cell) -> list[str]:
    return [item.text for item in cell.items]


def _related_row(cards: Sequence[Card], lang: str) -> Row:
    known = catalogue()
    sets = [frozenset(card.related) for card in cards]
    shared = frozenset[str].intersection(*sets) if sets else frozenset[str]()
    cells = [
        Cell(
            text=str(len(card.related))
            if len(cards) < 2
            else word("related.count", lang, n=len(card.related), shared=len(shared)),
            items=tuple(
                Link(text=known[key].card.name.of(lang), url=f"/{lang}/methods/{key}")
                for key in card.related
                if key in known
            ),
        )
        for card in cards
    ]
    row = _row("related", cells, sets, lang)
    return row.model_copy(update={"values": tuple(len(related) for related in sets)})


def _choices(method: Method) -> Choices | None:
    try:
        return choices_of(method)
    except UserError:
        return None


def _start(choices: Choices) -> str:
    return "refit" if choices.refit else choices.start


def _trainable(choices: Choices, lang: str) -> str:
    """How many parameters train, as far as it does not depend on the network."""
    text, width = choices.adaptation.trainable(lang), _head(choices)
    return text if width is None else word("trainable.head", lang, text=text, width=width)


def _head(choices: Choices) -> int | None:
    """The width of the projection that trains beside the network and is thrown away."""
    widths = (term.thrown_away for term in choices.objective)
    return next((width for width in widths if width is not None), None)


def _condition(choices: Choices, lang: str) -> str:
    said = choices.condition
    return word("condition.base", lang) if said is None else said.sentence(lang)


def _sampling(choices: Choices, lang: str) -> str:
    solver = registry.look_up("solvers", choices.sampling.solver)
    text = word("sampling.text", lang, solver=solver.label or solver.name)
    guidance = choices.sampling.guidance
    if guidance is None:
        return text
    return word("sampling.guided", lang, text=text, guidance=guidance.sentence(lang))


def _objective(choices: Choices, lang: str) -> str:
    said = [term.said(lang) for term in choices.objective]
    return " + ".join(said) or word("objective.none", lang)
