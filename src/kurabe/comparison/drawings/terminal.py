"""The table in a terminal: sentences on top, rows below, marks in their own last column."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from kurabe.comparison.drawings.flat import ARROWS
from kurabe.comparison.drawings.width import sayable, width, wrap
from kurabe.comparison.facts import NOTHING
from kurabe.comparison.table import Cell, Group, Row, Sentence, Table
from kurabe.words.table import word

_GAP = 2
_MARK = 4
_NARROWEST = 15
_LEGACY = ("cp932", "shift_jis", "euc_jp", "iso2022_jp", "gbk", "gb2312", "big5", "euc_kr", "cp949")


@dataclass(frozen=True)
class Screen:
    """What the text is drawn for.

    Attributes:
        columns: cells in a line.
        encoding: what it can say; the legacy East Asian ones draw ambiguous characters wide.
        placed: whether columns are placed by cursor position, so that they stand straight
            whatever the terminal takes for the width of ±; for terminals only.
        coloured: whether bold and dim are used.
    """

    columns: int = 100
    encoding: str = "utf-8"
    placed: bool = False
    coloured: bool = False

    @property
    def ambiguous(self) -> int:
        """Cells of a character of ambiguous width."""
        return 2 if self.encoding.lower().replace("-", "_") in _LEGACY else 1

    def say(self, text: str) -> str:
        """The text in characters that the screen has."""
        return sayable(text, self.encoding)

    def bold(self, text: str) -> str:
        """The text in bold."""
        return f"\x1b[1m{text}\x1b[0m" if self.coloured and text else text

    def dim(self, text: str) -> str:
        """The text dimmed."""
        return f"\x1b[2m{text}\x1b[0m" if self.coloured and text else text


def screen_of(given: TextIO | None = None) -> Screen:
    """The screen that a stream (standard output) leads to; NO_COLOR is heeded."""
    import os
    import shutil

    stream: TextIO = sys.stdout if given is None else given
    is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
    return Screen(
        columns=max(60, shutil.get_terminal_size((100, 24)).columns),
        encoding=stream.encoding or "utf-8",
        placed=is_terminal,
        coloured=is_terminal and not os.environ.get("NO_COLOR"),
    )


def draw_terminal(
    table: Table,
    screen: Screen | None = None,
    groups: Sequence[Group] = ("facts", "how", "measured"),
) -> str:
    """Sentences and the rows of these groups as text that ends with a line end."""
    screen = screen or Screen()
    lines = draw_sentences(table, screen)
    rows = table.group(*groups)
    if not rows:
        return "\n".join(lines) + "\n" if lines else ""
    label = _label_width(rows, screen)
    # Where not all columns fit side by side, they stand in several tables below one another.
    fitting = max(1, (screen.columns - label - _MARK) // (_NARROWEST + _GAP))
    for start in range(0, max(1, len(table.columns)), fitting):
        part = range(start, min(start + fitting, len(table.columns)))
        if lines:
            lines.append("")
        lines += _part(table, rows, part, label, screen)
    if any(row.group == "measured" for row in rows):
        for said in table.footnotes:
            lines += ["", *(screen.dim(t) for t in wrap(screen.say(said), screen.columns, 2))]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _part(table: Table, rows: Sequence[Row], part: range, label: int, screen: Screen) -> list[str]:
    """The rows with these columns; the marks are those of all columns shown."""
    texts = [[_cell(row.cells[index]) for index in part] for row in rows]
    names = [table.columns[index].name for index in part]
    layout = _Layout.of(names, texts, label, screen)
    lines = layout.lines("", names, "", bold=True)
    heading = None
    for row, cells in zip(rows, texts, strict=True):
        title = word(f"section.{row.section}" if row.section else f"group.{row.group}", table.lang)
        if title != heading:
            heading = title
            lines += ["", screen.bold(screen.say(title))]
        name = row.label + ARROWS[row.better].replace(" ", "\u00a0")
        lines += layout.lines(name, cells, row.mark or "")
        if row.references:
            text = " · ".join(f"{ref.label} {ref.text}" for ref in row.references)
            lines += layout.notes(text)
        if row.note and (row.mark == "?" or any(pair.images is not None for pair in row.pairs)):
            lines += layout.notes(row.note)
    return lines


def _label_width(rows: Sequence[Row], screen: Screen) -> int:
    widest = max(width(screen.say(row.label), 2) + 2 for row in rows)
    return min(max(widest, 8), max(14, screen.columns // 4))


def draw_sentences(table: Table, screen: Screen) -> list[str]:
    """The question and its answers, each with its mark at the end of the line."""
    if not table.sentences:
        return []
    lines = [screen.bold(screen.say(table.question))] if table.question else []
    label = max(width(screen.say(s.label), screen.ambiguous) for s in table.sentences) + _GAP
    for sentence in table.sentences:
        lines += _sentence(sentence, label, screen)
    return lines


def _sentence(sentence: Sentence, label: int, screen: Screen) -> list[str]:
    room = screen.columns - label - _MARK
    texts = wrap(screen.say(sentence.text), room, 2)
    name = screen.say(sentence.label)
    lines = [
        (name + " " * (label - width(name, screen.ambiguous)) if first else " " * label)
        + screen.bold(text)
        for first, text in zip([True, *[False] * len(texts)], texts, strict=False)
    ]
    used = label + width(texts[0], screen.ambiguous)
    lines[0] += _to(label + room, used, screen) + screen.bold(screen.say(sentence.mark or ""))
    indent = " " * label
    if sentence.detail:
        lines += [indent + screen.dim(t) for t in wrap(screen.say(sentence.detail), room, 2)]
    if sentence.command:
        lines.append(indent + screen.say(sentence.command))
    return lines


def _cell(cell: Cell) -> str:
    if cell.text == NOTHING and cell.note:
        return f"{NOTHING} {cell.note}"
    literal = f" ({cell.literal})" if cell.literal else ""
    links = "".join(f" {link.url}" for link in cell.links)
    return cell.text + literal + links


def _to(column: int, used: int, screen: Screen) -> str:
    """Move to a column, counted from 0: by cursor position, else by spaces."""
    if screen.placed:
        return f"\x1b[{column + 1}G"
    return " " * max(1, column - used)


@dataclass(frozen=True)
class _Layout:
    """Widths of the label column and of each method's column."""

    label: int
    cell: int
    count: int
    screen: Screen

    @classmethod
    def of(
        cls, names: Sequence[str], texts: Sequence[Sequence[str]], label: int, screen: Screen
    ) -> "_Layout":
        count = max(1, len(names))
        room = (screen.columns - label - _MARK) // count - _GAP
        widest = max((width(screen.say(t), 2) for row in texts for t in row), default=8)
        title = max((width(screen.say(name), 2) for name in names), default=8)
        return cls(label, max(8, min(room, max(widest, min(title, 24)))), count, screen)

    def starts(self) -> list[int]:
        """Where each column begins, the mark's last."""
        return [self.label + _GAP + i * (self.cell + _GAP) for i in range(self.count + 1)]

    def lines(
        self, label: str, cells: Sequence[str], mark: str, *, bold: bool = False
    ) -> list[str]:
        """One row as lines; the mark stands in the first."""
        screen = self.screen
        labels = wrap(screen.say(label), self.label, 2)
        wrapped = [wrap(screen.say(cell), self.cell, 2) for cell in cells]
        height = max(len(labels), *(len(lines) for lines in wrapped), 1) if wrapped else len(labels)
        texts = [labels, *wrapped, [screen.say(mark)]]
        result: list[str] = []
        for index in range(height):
            line, used = "", 0
            for start, lines in zip([0, *self.starts()], texts, strict=True):
                text = lines[index] if index < len(lines) else ""
                if not text:
                    continue
                line += _to(start, used, screen) if start else ""
                line += screen.bold(text) if bold or lines is texts[-1] else text
                used = start + width(text, screen.ambiguous)
            result.append(line)
        return result

    def notes(self, text: str) -> list[str]:
        """Words below a row, dimmed."""
        screen = self.screen
        room = screen.columns - 4
        return ["  " + screen.dim(line) for line in wrap(screen.say(text), room, 2)]
