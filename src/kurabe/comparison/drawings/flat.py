"""Tables as CSV and Markdown: one line a row, the same text in each cell as on the page."""

import csv
import io
import re

from kurabe.comparison.table import Row, Table
from kurabe.words.table import word

ARROWS = {"up": " ↑", "down": " ↓", None: ""}
# A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def label_of(row: Row) -> str:
    """A row's label with an arrow where one way is better."""
    return row.label + ARROWS[row.better]


def flat_rows(table: Table) -> list[tuple[Row, list[str]]]:
    """Every row but the sample grids, which are no text, with its cells' texts."""
    rows = table.group("facts", "how", "measured")
    return [(row, [cell.text for cell in row.cells]) for row in rows]


def draw_csv(table: Table) -> str:
    """CSV with a byte order mark, so that spreadsheets read it as UTF-8; the mark comes last."""
    lang = table.lang
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(["", "", *(_inert(column.name) for column in table.columns), "≠"])
    for row, cells in flat_rows(table):
        group = word(f"group.{row.group}", lang)
        texts = [_inert(text) for text in (label_of(row), *cells)]
        writer.writerow([group, *texts, row.mark or ""])
    return "\ufeff" + buffer.getvalue()


def draw_markdown(table: Table) -> str:
    """A GitHub-flavoured Markdown table below the verdict sentences."""
    lines = [
        f"- **{_inline(s.label)}** {_inline(s.text)} {s.mark or ''}  {_inline(s.detail)}".rstrip()
        for s in table.sentences
    ]
    if lines:
        lines.append("")
    names = [_inline(column.name) for column in table.columns]
    lines.append(_line(["", *names, ""]))
    lines.append(_line(["---"] * (len(names) + 2)))
    for row, cells in flat_rows(table):
        texts = [_inline(text) for text in (label_of(row), *cells)]
        lines.append(_line([*texts, row.mark or ""]))
    for said in table.footnotes:
        lines += ["", _inline(said)]
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _inline(text: str) -> str:
    """Text that Markdown and the HTML in it leave alone."""
    escaped = re.sub(r"([\\`*_\[\]|~#])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
