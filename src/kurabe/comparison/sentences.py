"""The answers that stand above a measured table: one sentence a question, with its mark.

A question compares the columns with the study's own budget by one metric. The leader has the
best mean; it is ahead only of those from which a verdict separates it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kurabe.comparison.copies import copying
from kurabe.comparison.measured import Shown
from kurabe.comparison.metrics import HEADLINES
from kurabe.comparison.numbers import rounded_up
from kurabe.comparison.results import StudyResults
from kurabe.comparison.table import Cell, Column, Mark, Pair, Row, Sentence
from kurabe.comparison.words import in_sentence, joined, word

_IMAGES, _FEATURES = HEADLINES
# What needs no training: features that are no better have shown nothing.
_WITHOUT_LEARNING = ("pixels", "pca", "random")


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
        return self.pairs.get(frozenset((self.leader, other)))

    def mark(self, other: str) -> Mark | None:
        pair = self.pair(other)
        return pair.mark if pair else "?"


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
    equal = [column.id for column in columns if column.budget_factor == 1 and column.id in once]
    for key, metrics in (("images", _IMAGES), ("features", _FEATURES)):
        row = _deciding(metrics, by_key, results)
        standing = row and _standing(row, columns, equal, lang)
        if standing:
            found.append(_ranking(key, standing, results, lang))
    if copies := copying(results, columns, shown, lang):
        found.append(copies)
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
    return _Standing(
        row,
        cells,
        {frozenset((pair.first, pair.second)): pair for pair in row.pairs},
        {column.id: in_sentence(column.name, lang) for column in columns},
        order,
    )


def _ranking(key: str, standing: _Standing, results: StudyResults, lang: str) -> Sentence:
    tied = [other for other in standing.order[1:] if standing.mark(other) != "≠"]
    behind = [other for other in standing.order[1:] if standing.mark(other) == "≠"]
    command = None
    if not tied:
        pair = standing.pair(behind[0])
        text = word("ahead.small" if pair and pair.small else "ahead", lang, leader=_name(standing))
        mark, detail = "≠", _against(standing, lang)
    else:
        names = joined([standing.names[key] for key in (standing.leader, *tied)], lang)
        mark = "≈" if all(standing.mark(other) == "≈" for other in tied) else "?"
        text = word("equal" if mark == "≈" else "unclear", lang, names=names)
        if behind:
            names = joined([standing.names[key] for key in behind], lang)
            text += word("behind", lang, names=names)
        detail = _against(standing, lang)
        if mark == "?":
            detail, command = _settling(standing, tied, results, lang)
    if key == "features" and (note := _nothing_shown(standing, lang)):
        detail += f"{'。' if lang == 'ja' else '; '}{note}"
    return Sentence(
        key=key,
        label=word(f"question.{key}", lang),
        text=text,
        mark=mark,
        detail=detail,
        command=command,
    )


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
    standing: _Standing, tied: Sequence[str], results: StudyResults, lang: str
) -> tuple[str, str | None]:
    """What would settle the open pairs with the leader: the one that needs most blocks decides.

    Always a look that was planned: another one would be another chance to be wrong.
    """
    pairs = [pair for other in tied if (pair := standing.pair(other)) and pair.mark != "≈"]
    if counted := [pair.images for pair in pairs if pair.images is not None]:
        return word("settle.images", lang, n=min(counted)), None
    has = results.blocks + len(results.added_blocks())
    if not pairs or any(pair.look is None for pair in pairs):
        first = results.looks[0]
        following = next((look for look in results.looks if look >= has), has)
        return word("settle.few", lang, n=first), f"{results.command} --seeds {following}"
    decimals = standing.row.decimals
    hardest = max(pairs, key=lambda pair: pair.blocks_needed or math.inf)
    if hardest.blocks_needed is None or hardest.look is None or hardest.gap is None:
        gap = rounded_up((hardest.smallest_gap or 0.0) / standing.row.unit, decimals)
        return word("settle.never", lang, smallest=gap), None
    more = hardest.blocks_needed - hardest.look
    seconds = results.seconds_per_block()
    minutes = math.ceil(more * seconds / 60) if seconds else None
    text = word(
        "settle.one" if more == 1 else "settle",
        lang,
        more=more,
        time=word("settle.time", lang, minutes=minutes) if minutes else "",
        gap=rounded_up(hardest.gap / standing.row.unit, decimals),
    )
    return text, f"{results.command} --seeds {hardest.blocks_needed}"


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
        better = _is_better(standing.cells[column.id], leader, row)
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


def _is_better(cell: Cell, than: Cell, row: Row) -> bool:
    if cell.estimate is None or than.estimate is None:
        return False
    gap = cell.estimate.mean - than.estimate.mean
    return gap > 0 if row.better == "up" else gap < 0
