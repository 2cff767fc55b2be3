"""The sentence about copies: whether a method draws its training images again, and what was seen.

Two measures stand behind it. Near-copies: samples that lie as near to a training image as only
three in a hundred unseen real ones do; a column's share is compared with that of real held-out
images by paired t over blocks, whose differences vary by no less than shares of so many images do.
And the share of samples whose nearest image is a training one, which is one half by chance, and for
the untouched base what its own taste makes of it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kurabe.comparison.families import LEVEL
from kurabe.comparison.measured import Shown
from kurabe.comparison.metrics import METRICS
from kurabe.comparison.numbers import number
from kurabe.comparison.results import StudyResults
from kurabe.comparison.t_tests import (
    FEWEST_BLOCKS,
    Blocks,
    Difference,
    mean_and_variance,
)
from kurabe.comparison.table import Column, Mark, Sentence
from kurabe.words.table import in_sentence, joined, word

CHANCE = 0.5


@dataclass(frozen=True)
class _Counted:
    """Samples of a run, and how many of them are near-copies; the same of real held-out images."""

    copies: int
    samples: int
    real_copies: int
    real: int


def copying(
    results: StudyResults, columns: Sequence[Column], shown: Sequence[Shown], lang: str
) -> Sentence | None:
    """The sentence on all trained columns that are shown; None where copies were not measured.

    "Copies" where p < .05 and the mean is beyond the margin. "No copies" only where not one
    near-copy was seen; where some were but the upper end of the 90 % interval lies inside the
    margin, their number is said. Cannot tell otherwise.
    """
    metric = METRICS["near-copies"]
    names = {c.id: in_sentence(c.name, lang) for c in columns if c.trained}
    sources = {column.id: column.source or "" for column in shown if column.id in names}
    seen = {key: counts for key, of in sources.items() if (counts := _counts(results, of))}
    if not seen:
        return None
    marks = {key: _mark(of, metric.margin) for key, of in seen.items()}
    some = {m: [key for key, of in marks.items() if of == m] for m in ("≠", "?")}
    mark: Mark = "≠" if some["≠"] else "?" if some["?"] else "≈"
    found = [key for key, of in seen.items() if any(one.copies for one in of.values())]
    if mark == "≈":
        verdict, who = ("copies.few", found) if found else ("copies.none", [])
    else:
        verdict, who = ("copies.some" if mark == "≠" else "copies.unclear"), some[mark]
    text = word(verdict, lang, names=joined([names[key] for key in who] or [""], lang))
    nearest = results.values("nearest-to-training")
    untrained = {c.id for c in columns if not c.trained}
    nothing: Blocks = {}
    base = next((nearest.get(c.source or "", nothing) for c in shown if c.id in untrained), nothing)
    own = {key: nearest.get(sources[key], nothing) for key in seen}
    drawn = next(iter(next(iter(seen.values())).values())).samples
    if leaning := [key for key, of in own.items() if _leans(of, base, drawn)]:
        said = [_share_nearest(own[key], base, names[key], lang) for key in leaning]
        text += word("copies.nearest", lang, names=joined(said, lang))
    return Sentence(
        key="copies",
        label=word("question.copies", lang),
        text=text,
        mark=mark,
        detail=_detail(seen, names, lang),
    )


def _counts(results: StudyResults, source: str) -> dict[int, _Counted]:
    """By block, what was counted; a run of before counts were kept has its share of 100."""
    found: dict[int, _Counted] = {}
    for block, run in results.of(source).items():
        entry = run.metrics.get("near-copies", {})
        references: dict[str, Any] = entry.get("references") or {}
        detail: dict[str, Any] = entry.get("detail") or {}
        if entry.get("value") is None or references.get("held-out") is None:
            continue
        samples, real = int(entry.get("n") or 100), int(detail.get("held_out") or 100)
        share, of_real = float(entry["value"]), float(references["held-out"])
        found[block] = _Counted(
            round(share * samples) or int(share > 0), samples, round(of_real * real), real
        )
    return found


def _mark(counts: Mapping[int, _Counted], margin: float) -> Mark:
    """From the gaps between the shares of near-copies among samples and among real images."""
    gaps = [of.copies / of.samples - of.real_copies / of.real for of in counts.values()]
    if len(gaps) < FEWEST_BLOCKS:
        return "?"
    mean, variance = mean_and_variance(gaps)
    error = math.sqrt(max(variance, _binomial(counts.values())) / len(gaps))
    difference = Difference(mean, error, len(gaps) - 1, len(gaps))
    if difference.p < LEVEL and difference.mean > margin:
        return "≠"
    return "?" if difference.interval(0.90)[1] > margin else "≈"


def _binomial(counts: Iterable[_Counted]) -> float:
    """The variance of a block's gap if both shares were one: counts never vary by less."""
    every = list(counts)
    copies = sum(of.copies + of.real_copies for of in every)
    images = sum(of.samples + of.real for of in every)
    # One more copy than was seen, so that none seen is not none possible.
    share = min(0.5, (copies + 1) / (images + 1))
    each = sum(1 / of.samples + 1 / of.real for of in every) / len(every)
    return share * (1 - share) * each


def _leans(own: Blocks, base: Blocks, samples: int) -> bool:
    """Whether samples lie nearer to training images than chance and, if it is there, the base.

    A block's share of so many samples varies by no less than a binomial one of one half.
    """
    for other, counted in ((dict.fromkeys(own, CHANCE), 1), (base, 2)):
        if counted == 2 and not base:
            return True
        gaps = [share - other[block] for block, share in own.items() if block in other]
        if len(gaps) < FEWEST_BLOCKS:
            return False
        mean, variance = mean_and_variance(gaps)
        least = counted * CHANCE * (1 - CHANCE) / samples
        error = math.sqrt(max(variance, least) / len(gaps))
        if Difference(mean, error, len(gaps) - 1, len(gaps)).p >= LEVEL or mean <= 0:
            return False
    return True


def _share_nearest(own: Blocks, base: Blocks, name: str, lang: str) -> str:
    share, of_base = (number(sum(of.values()) / len(of), 3) if of else None for of in (own, base))
    if of_base is None:
        return word("copies.share", lang, name=name, share=share)
    return word("copies.share.base", lang, name=name, share=share, base=of_base)


def _detail(seen: Mapping[str, Mapping[int, _Counted]], names: Mapping[str, str], lang: str) -> str:
    """The number of near-copies in the samples of each column, as a range over its blocks."""
    parts: list[str] = []
    for key, of in seen.items():
        counts = [one.copies for one in of.values()]
        low, high = min(counts), max(counts)
        copies = f"{low}" if low == high else f"{low}–{high}"
        samples = next(iter(of.values())).samples
        parts.append(word("copies.count", lang, name=names[key], copies=copies, samples=samples))
    every = [one for of in seen.values() for one in of.values()]
    real = [one.real_copies for one in every]
    low, high = min(real), max(real)
    text = f"{low}" if low == high else f"{low}–{high}"
    return word("copies.detail", lang, counts=joined(parts, lang), real=text, images=every[0].real)
