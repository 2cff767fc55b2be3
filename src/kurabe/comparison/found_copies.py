"""Which images of a column that was made elsewhere are training images again, by name.

A copy by itself has a training image at less than a third of the distance to the next one
(`kurabe.evaluation.memorisation`). What is said is a count of what was seen and whose it is, beside
the count among real images that training never saw; it is no mark, and needs no block.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kurabe.comparison.measured import Shown
from kurabe.comparison.results import StudyResults
from kurabe.comparison.table import Column, Sentence
from kurabe.words.outside import say

COPY = 1 / 3
# So many are named.
NAMED = 3


def found_copies(
    results: StudyResults, columns: Sequence[Column], shown: Sequence[Shown], lang: str
) -> Sentence | None:
    """A sentence where an outside column has copies, more of its images than of real ones."""
    said: list[str] = []
    details: list[str] = []
    for column, at in zip(columns, shown, strict=True):
        if not has_copies(results, at):
            continue
        pairs, samples, _ = _copies(results, at.source or "")
        said.append(say("copied.column", lang, column=column.name, n=len(pairs), samples=samples))
        named = [f"{one.get('file', one['sample'])} = {one['training']}" for one in pairs[:NAMED]]
        details += [f"{column.name}: {', '.join(named)}{' …' if len(pairs) > NAMED else ''}"]
    if not said:
        return None
    text = say("copied", lang, columns=("、" if lang == "ja" else ", ").join(said))
    return Sentence(
        key="copied", label=say("question.copied", lang), text=text, mark=None,
        detail="; ".join(details),
    )  # fmt: skip


def has_copies(results: StudyResults, at: Shown) -> bool:
    """Whether the column was made elsewhere and has copies, more of its images than real ones."""
    if at.source not in {column.id for column in results.columns if column.outside}:
        return False
    pairs, samples, of_real = _copies(results, at.source or "")
    return bool(pairs) and len(pairs) / samples > of_real


def _copies(results: StudyResults, source: str) -> tuple[list[Mapping[str, Any]], int, float]:
    """The pairs over all blocks, of how many images, and the share of real images that are such."""
    pairs: list[Mapping[str, Any]] = []
    samples, twins, real = 0, 0, 0
    for run in results.of(source).values():
        entry = run.metrics.get("near-copies", {})
        detail: Mapping[str, Any] = entry.get("detail") or {}
        samples += int(entry.get("n") or 0)
        twins += int(detail.get("twins") or 0)
        real += int(detail.get("held_out") or 0)
        pairs += [pair for pair in detail.get("pairs", ()) if pair["ratio"] < COPY]
    return sorted(pairs, key=lambda pair: pair["ratio"]), samples, twins / real if real else 0.0
