"""The answers that stand above a measured table: one sentence a question, with its mark.

A question compares the columns with the study's own budget by one metric. The leader has the
best mean; it is ahead only of those from which a verdict separates it.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kurabe.comparison.copies import copying
from kurabe.comparison.found_copies import found_copies, has_copies
from kurabe.comparison.measured import Shown
from kurabe.comparison.metrics import HEADLINES
from kurabe.comparison.numbers import rounded_up
from kurabe.comparison.results import StudyResults
from kurabe.comparison.t_tests import FEWEST_BLOCKS
from kurabe.comparison.table import Cell, Column, Mark, Pair, Row, Sentence
from kurabe.words.outside import say
from kurabe.words.table import in_sentence, joined, word

_IMAGES, _FEATURES = HEADLINES
# What needs no training: features that are no better have shown nothing.
_WITHOUT_LEARNING = ("pixels", "pca", "hog", "scattering", "patches", "random")


@dataclass(frozen=True)
class _Standing:
    """One metric's row, by column: who leads, who cannot be told from the leader, who is behind."""

    row: Row
    cells: dict[str, Cell]
    pairs: dict[frozenset[str], Pair]
    names: dict[str, str]
    order: list[str]

    @property
    def leader(self) -> str:
        return self.order[0]

    def pair(self, other: str) -> Pair | None:
        return self.between(self.leader, other)

    def between(self, one: str, other: str) -> Pair | None:
        return self.pairs.get(frozenset((one, other)))

    def mark(self, other: str) -> Mark:
        return self.mark_of(self.leader, other)

    def mark_of(self, one: str, other: str) -> Mark:
        """Of two columns; "?" where there are too few images for any."""
        pair = self.between(one, other)
        return (pair and pair.mark) or "?"


def sentences(
    results: StudyResults,
    rows: Sequence[Row],
    columns: Sequence[Column],
    shown: Sequence[Shown],
    lang: str,
) -> tuple[Sentence, ...]:
    """One sentence for images, features, copies, and larger budgets, as far as there are runs."""
    by_key = {row.key: row for row in rows}
    found: list[Sentence] = []
    # Two columns may show the same runs; they are one answer.
    sources = {column.source: column.id for column in reversed(shown)}
    once = set(sources.values())
    at = {column.id: column.source for column in shown if column.source}
    equal = [column.id for column in columns if column.budget_factor == 1 and column.id in once]
    declared = [(key, (key,)) for key in results.declared_heads or ()]
    for key, metrics in declared or [("images", _IMAGES), ("features", _FEATURES)]:
        row = _deciding(metrics, by_key, results)
        standing = row and _standing(row, columns, equal, lang)
        if standing:
            found.append(_ranking(key, standing, results, at, lang))
    copies = copying(results, columns, shown, lang)
    if copies is not None and copies.mark == "?":
        # Of what is found by name below, "cannot tell" would say the contrary.
        rest = [at for at in shown if not has_copies(results, at)]
        copies = copying(results, columns, rest, lang)
    if copies is not None:
        found.append(copies)
    if certain := found_copies(results, columns, shown, lang):
        found.append(certain)
    image_row = _deciding(_IMAGES, by_key, results)
    if image_row and (larger := _larger_budgets(image_row, columns, lang)):
        found.append(larger)
    return tuple(found)


def _deciding(line: Sequence[str], by_key: Mapping[str, Row], results: StudyResults) -> Row | None:
    """The study's headline row among those of a line, else the first that the columns have."""
    order = sorted(line, key=lambda metric: metric not in results.headlines)
    return next((by_key[metric] for metric in order if metric in by_key), None)


def _standing(
    row: Row, columns: Sequence[Column], among: Sequence[str], lang: str
) -> _Standing | None:
    cells = dict(zip((column.id for column in columns), row.cells, strict=True))
    means = {key: found.mean for key in among if (found := cells[key].estimate)}
    if len(means) < 2:
        return None
    order = sorted(means, key=lambda key: means[key], reverse=row.better == "up")
    pairs = {frozenset((pair.first, pair.second)): pair for pair in row.pairs}
    # Means may lie the other way round than a difference that was found: of blocks that one column
    # lost, or that came after the look. What was found decides.
    for key in order:
        found = (pairs.get(frozenset((key, other))) for other in order if other != key)
        if not any(pair and pair.mark == "≠" and _winner(pair, row) != key for pair in found):
            order.remove(key)
            order.insert(0, key)
            break
    names = {column.id: in_sentence(column.name, lang) for column in columns}
    return _Standing(row, cells, pairs, names, order)


def _winner(pair: Pair, row: Row) -> str:
    """Which column of a pair its difference says is better."""
    rises = (pair.difference or 0.0) > (1.0 if pair.ratio else 0.0)
    return pair.second if rises == (row.better == "up") else pair.first


def _ranking(
    key: str, standing: _Standing, results: StudyResults, sources: Mapping[str, str], lang: str
) -> Sentence:
    tied = [other for other in standing.order[1:] if standing.mark(other) != "≠"]
    behind = [other for other in standing.order[1:] if standing.mark(other) == "≠"]
    command = None
    if not tied:
        pair = standing.pair(behind[0])
        text = word("ahead.small" if pair and pair.small else "ahead", lang, leader=_name(standing))
        mark, detail = "≠", _against(standing, lang)
    else:
        mark = "≈" if all(standing.mark(other) == "≈" for other in tied) else "?"
        text = _tied(standing, tied, mark, lang)
        if behind:
            names = joined([standing.names[key] for key in behind], lang)
            text += word("behind", lang, names=names)
        detail = _against(standing, lang)
        if mark == "?":
            detail, command = _settling(standing, tied, results, sources, lang)
    if key == "features" and (note := _nothing_shown(standing, lang)):
        detail += f"{'。' if lang == 'ja' else '; '}{note}"
    declared = results.declared_heads is not None
    return Sentence(
        key=key,
        label=results.metrics[key].label(lang) if declared else word(f"question.{key}", lang),
        text=text,
        mark=mark,
        detail=detail,
        command=command,
    )


def _tied(standing: _Standing, tied: Sequence[str], mark: Mark, lang: str) -> str:
    """What is said of the leader and those whom nothing separates from it.

    Of all of them together only what holds of every two; else of the leader and each other one.
    """
    key = "equal" if mark == "≈" else "unclear"
    every = itertools.combinations((standing.leader, *tied), 2)
    if all(standing.mark_of(*two) == mark for two in every):
        names = joined([standing.names[key] for key in (standing.leader, *tied)], lang)
        return word(key, lang, names=names)
    alike = [other for other in tied if standing.mark(other) == mark]
    names = joined([standing.names[key] for key in alike], lang)
    text = word(f"{key}.to", lang, leader=_name(standing), names=names)
    if equal := [other for other in tied if other not in alike]:
        names = joined([standing.names[key] for key in equal], lang)
        text += word("equal.too", lang, names=names)
    return text


def _name(standing: _Standing) -> str:
    return standing.names[standing.leader]


def _against(standing: _Standing, lang: str) -> str:
    second = standing.order[1]
    return word(
        "against",
        lang,
        metric=standing.row.label,
        first=standing.cells[standing.leader].text,
        second=standing.cells[second].text,
        name=standing.names[second],
    )


def _settling(
    standing: _Standing,
    tied: Sequence[str],
    results: StudyResults,
    sources: Mapping[str, str],
    lang: str,
) -> tuple[str, str | None]:
    """What would settle the open pairs with the leader: the one that needs most blocks decides.

    Always a look that was planned: another one would be another chance to be wrong.
    """
    pairs = [pair for other in tied if (pair := standing.pair(other)) and pair.mark != "≈"]
    if counted := [pair.images for pair in pairs if pair.images is not None]:
        return word("settle.images", lang, n=min(counted)), None
    if not pairs or any(pair.look is None for pair in pairs):
        return _untested(pairs, sources, results, lang)
    decimals = standing.row.decimals
    hardest = max(pairs, key=lambda pair: pair.blocks_needed or math.inf)
    if hardest.blocks_needed is None or hardest.look is None or hardest.gap is None:
        gap = rounded_up((hardest.smallest_gap or 0.0) / standing.row.unit, decimals)
        if results.question == "checkpoints":
            return say("settle.images", lang, smallest=gap), None
        return word("settle.never", lang, smallest=gap), None
    # Blocks that wait for the next look are there already.
    ended = min(results.reached(sources[column]) for column in (hardest.first, hardest.second))
    more = max(1, hardest.blocks_needed - max(hardest.look, ended))
    seconds = results.seconds_per_block()
    minutes = math.ceil(more * seconds / 60) if seconds else None
    text = word(
        "settle.one" if more == 1 else "settle",
        lang,
        more=more,
        time=word("settle.time", lang, minutes=minutes) if minutes else "",
        gap=rounded_up(hardest.gap / standing.row.unit, decimals),
    )
    if all(column.outside for column in results.columns):
        return text, None
    return text, f"{results.command} --seeds {hardest.blocks_needed}"


def _untested(
    pairs: Sequence[Pair], sources: Mapping[str, str], results: StudyResults, lang: str
) -> tuple[str, str | None]:
    """Why pairs were not tested: no look yet, blocks that runs lost, or nothing that varies."""
    first = results.looks[0]
    has = results.blocks + len(results.added_blocks())
    never = [pair for pair in pairs if pair.look is None]
    ended = [min(results.reached(sources[key]) for key in (p.first, p.second)) for p in never]
    if not never or min(ended) < first:
        if all(column.outside for column in results.columns):
            return say("settle.runs", lang, n=first), None
        following = next((look for look in results.looks if look >= has), has)
        return word("settle.few", lang, n=first), f"{results.command} --seeds {following}"
    fewest = min(pair.blocks or 0 for pair in never)
    if fewest >= FEWEST_BLOCKS:
        return word("settle.spread", lang), None
    return word("settle.lost", lang, least=FEWEST_BLOCKS), results.command


def _nothing_shown(standing: _Standing, lang: str) -> str | None:
    leader = standing.cells[standing.leader].estimate
    simple = [ref for ref in standing.row.references if ref.id in _WITHOUT_LEARNING]
    best = max(simple, key=lambda ref: ref.value, default=None)
    if leader is None or best is None or leader.mean > best.value:
        return None
    return word("below", lang, reference=best.label, value=best.text)


def _larger_budgets(row: Row, columns: Sequence[Column], lang: str) -> Sentence | None:
    """From which larger budget on a column draws level with the best at the study's own."""
    trained = [column.id for column in columns if column.budget_factor == 1 and column.trained]
    larger = sorted(
        (column for column in columns if column.budget_factor > 1),
        key=lambda column: column.budget_factor,
    )
    standing = _standing(row, columns, trained, lang)
    larger = [column for column in larger if standing and standing.cells[column.id].estimate]
    if standing is None or not larger:
        return None
    leader = standing.cells[standing.leader]
    key, column, mark = "never-reaches", larger[-1], standing.mark(larger[-1].id)
    for column in larger:
        mark = standing.mark(column.id)
        pair = standing.pair(column.id)
        better = pair is not None and _winner(pair, row) == column.id
        if mark != "≠" or better:
            key = "passes" if mark == "≠" else "reaches" if mark == "≈" else "may-reach"
            break
    return Sentence(
        key="budget",
        label=word("question.budget", lang),
        text=word(
            key, lang, name=in_sentence(column.name, lang), leader=standing.names[standing.leader]
        ),
        mark=mark,
        detail=word(
            "against",
            lang,
            metric=row.label,
            first=leader.text,
            second=standing.cells[column.id].text,
            name=in_sentence(column.name, lang),
        ),
    )
