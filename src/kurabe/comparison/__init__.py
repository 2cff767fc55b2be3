"""Comparison: metrics, verdicts, the one table, and its drawings.

table = study_table(StudyFolder("scans-study"), "en")     # or compare(methods, "ja")
print(draw_terminal(table, screen_of()))
"""

from collections.abc import Callable

from kurabe.comparison.build import compare, study_table
from kurabe.comparison.drawings.figure import draw_png, draw_svg
from kurabe.comparison.drawings.flat import draw_csv, draw_markdown
from kurabe.comparison.drawings.latex import draw_bibtex, draw_latex
from kurabe.comparison.drawings.page import draw_html
from kurabe.comparison.drawings.terminal import Screen, draw_terminal, screen_of
from kurabe.comparison.metrics import METRICS
from kurabe.comparison.results import read_results
from kurabe.comparison.table import Table

# Each makes a text of a table.
FORMATS: dict[str, Callable[[Table], str]] = {
    "table": draw_terminal,
    "json": Table.to_json,
    "csv": draw_csv,
    "markdown": draw_markdown,
    "latex": draw_latex,
    "bibtex": draw_bibtex,
    "html": draw_html,
    "svg": draw_svg,
}

__all__ = [
    "FORMATS",
    "METRICS",
    "Screen",
    "Table",
    "compare",
    "draw_bibtex",
    "draw_csv",
    "draw_html",
    "draw_latex",
    "draw_markdown",
    "draw_png",
    "draw_svg",
    "draw_terminal",
    "read_results",
    "screen_of",
    "study_table",
]
