"""A measured cell as HTML: the mean and its interval, the difference, a dot for every run.

A wide table has hundreds of these and most of a page's time goes into them; written here rather
than in the template they take a fifth of it.
"""

from markupsafe import Markup, escape

from kurabe.comparison.drawings.plot import Dots
from kurabe.comparison.table import Cell, Estimate
from kurabe.comparison.words import word


def measured_cell(
    cell: Cell, estimate: Estimate, dots: Dots | None, delta: Markup, name: str, lang: str
) -> Markup:
    """What stands in the cell; `name` is spoken before its value, every text is escaped."""
    text = escape(cell.text)
    count = escape(word("seeds", lang, n=len(estimate.blocks)))
    note = f" · {escape(cell.note)}" if cell.note else ""
    plot = dots.svg(f"{name}: {cell.text}") if dots else ""
    return Markup(
        f'<span class="value">{text}</span>{delta}'
        f'<span class="runs">{plot}<span class="count">{count}{note}</span></span>'
    )


def difference(kind: str, text: str, mark: str | None) -> Markup:
    """The difference from the baseline with its mark; kind: better, worse or plain."""
    return Markup(f' <span class="delta {kind}">{escape(text)} {escape(mark or "")}</span>')
