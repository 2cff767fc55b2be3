"""A measured cell as HTML: the mean and its interval, the difference, a dot for every run.

A wide table has hundreds of these and most of a page's time would go into them: they are written
here rather than in the template, and what was written is kept by what stands in it.
"""

from functools import lru_cache

from markupsafe import Markup, escape

from kurabe.comparison.drawings.plot import Dots
from kurabe.words.table import word

# As many cells as some thirty wide pages have; a cell is about a kilobyte.
_KEPT = 8192


@lru_cache(maxsize=_KEPT)
def measured_cell(
    text: str, note: str | None, blocks: int, dots: Dots | None, delta: str, name: str, lang: str
) -> Markup:
    """What stands in a cell of so many blocks: its text, its note, and `delta`, which is HTML.

    `name` is spoken before the text; every text is escaped.
    """
    count = escape(word("seeds", lang, n=blocks))
    noted = f" · {escape(note)}" if note else ""
    plot = dots.svg(f"{name}: {text}") if dots else ""
    return Markup(
        f'<span class="value">{escape(text)}</span>{delta}'
        f'<span class="runs">{plot}<span class="count">{count}{noted}</span></span>'
    )


@lru_cache(maxsize=_KEPT)
def difference(kind: str, text: str, mark: str | None) -> Markup:
    """The difference from the baseline with its mark; kind: better, worse or plain."""
    return Markup(f' <span class="delta {kind}">{escape(text)} {escape(mark or "")}</span>')
