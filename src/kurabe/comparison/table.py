"""The one Table that terminal, page, notebook and exports draw.

It is content only: what each cell says, its raw values, and the verdict on each pair. Texts are
plain; every drawing escapes them for itself. A pair's verdict comes from all columns of its study
and never changes; a row's mark follows the columns that are shown.
"""

import html
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kurabe.words import Language

Mark = Literal["≠", "≈", "?"]
Group = Literal["facts", "how", "measured", "samples"]
GROUPS: tuple[Group, ...] = ("facts", "how", "measured", "samples")


class Value(BaseModel):
    """A frozen value; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Link(Value):
    """A text that leads somewhere."""

    text: str
    url: str


class BlockValue(Value):
    """One run's value, on the metric's own scale; `added` after a look at the results."""

    block: int
    value: float
    added: bool = False


class Estimate(Value):
    """The mean over blocks and its 95 % t interval (None below two blocks), and what failed."""

    mean: float
    low: float | None
    high: float | None
    blocks: tuple[BlockValue, ...]
    failed: int = 0


class Grid(Value):
    """Sample tiles of one run: a PNG in the study's folder; tile k drawn from seeds[k]."""

    file: str
    block: int
    seeds: tuple[int, ...]
    width: int
    height: int
    images_seen: int
    nearest: str | None = None


class Cell(Value):
    """What one column says in one row.

    Attributes:
        text: as it is shown; "—" where there is nothing.
        literal: the same in English, to stand beside a Japanese text; None where it is the same.
        items: a list's parts, each a link where it leads somewhere (aliases, related methods).
        note: why there is nothing, in words.
        command: what would fill the cell.
    """

    text: str
    literal: str | None = None
    items: tuple[Link, ...] = ()
    links: tuple[Link, ...] = ()
    estimate: Estimate | None = None
    grid: Grid | None = None
    note: str | None = None
    command: str | None = None


class Pair(Value):
    """The verdict on two columns in one row; numbers on the row's own scale.

    difference, low, high: second minus first with its 95 % interval, or where `ratio` holds
    second over first; likewise margin, smallest_gap and gap. All of them are those of the
    look at which the mark was made, after so many blocks; without one, of all blocks so far. p is
    corrected over the table; gated: by itself, uncorrected, it would be below .05. blocks_needed:
    the next planned look that would see `gap`. images: over how many the row counts, where
    those are too few for any mark.
    """

    first: str
    second: str
    family: Literal["primary", "secondary", "exact"]
    mark: Mark | None
    small: bool = False
    ratio: bool = False
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    gated: bool = False
    look: int | None = None
    margin: float | None = None
    smallest_gap: float | None = None
    blocks: int | None = None
    blocks_needed: int | None = None
    gap: float | None = None
    images: int | None = None

    def turned(self) -> "Pair":
        """The same verdict seen from the second column: first minus second, or first over it."""

        def other(value: float | None) -> float | None:
            if value is None or (self.ratio and value == 0):
                return None
            return 1 / value if self.ratio else -value

        changes = {
            "first": self.second,
            "second": self.first,
            "difference": other(self.difference),
            "low": other(self.high),
            "high": other(self.low),
        }
        return self.model_copy(update=changes)


class Reference(Value):
    """What a row's value would be without any of the methods, as shown and as a number."""

    id: str
    label: str
    text: str
    value: float


class Row(Value):
    """One row; cells and values stand in the columns' order.

    Attributes:
        group: facts, how, measured or samples; section divides the measured ones.
        values: each cell as JSON: text, list, or the mean.
        better: which way is better, where one is.
        unit: the number that shown values were divided by.
        note: what must be said beside the row.
        headline: one of the rows that decide whether two columns differ at all.
    """

    group: Group
    key: str
    label: str
    section: str | None = None
    values: tuple[Any, ...]
    mark: Mark | None
    cells: tuple[Cell, ...]
    better: Literal["up", "down"] | None = None
    unit: float = 1.0
    decimals: int = 3
    note: str | None = None
    headline: bool = False
    references: tuple[Reference, ...] = ()
    pairs: tuple[Pair, ...] = ()


class Column(Value):
    """One method, or one method of a study under its own settings, or what was made elsewhere,
    of no method that is known."""

    id: str
    name: str
    method: str | None
    budget_factor: float = 1.0
    trained: bool = True


class Sentence(Value):
    """The answer to one question, with its mark; `detail` says from which numbers.

    command: what would settle a "?".
    """

    key: str
    label: str
    text: str
    mark: Mark | None
    detail: str = ""
    command: str | None = None


class StudyNote(Value):
    """Of which study the measured rows are; seconds_per_block for one more block of all columns.

    folder: where the study lies, and the files of the sample grids in it; not part of the JSON,
    which may be read elsewhere.
    """

    name: str
    folder: str = Field(default=".", exclude=True)
    command: str
    baseline: str
    blocks: int
    added_blocks: tuple[int, ...] = ()
    looks: tuple[int, ...] = ()
    seconds_per_block: float | None = None
    encoder: str | None = None


class Table(Value):
    """Columns, rows and sentences in one language.

    looks: after how many blocks marks were made, and when they will be again. added: what was
    added to the study after a look at its results. tested: on how many test images the marks
    stand, and whether those were opened more than once a checkpoint. proof: the rule of the marks,
    and how far they can be trusted.
    """

    version: int = Field(default=1, alias="schema")
    lang: Language
    title: str
    introduction: tuple[str, ...]
    added: tuple[str, ...] = ()
    looks: str | None = None
    tested: tuple[str, ...] = ()
    question: str | None = None
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    sentences: tuple[Sentence, ...] = ()
    study: StudyNote | None = None
    sources: tuple[dict[str, Any], ...] = ()
    proof: str | None = None

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @property
    def footnotes(self) -> tuple[str, ...]:
        """What a reader of the marks must know, to stand below them."""
        said = (self.looks, *self.added, *self.tested, self.proof)
        return tuple(text for text in said if text)

    def group(self, *groups: Group) -> tuple[Row, ...]:
        """The rows of these groups, in the order of the groups given."""
        return tuple(row for group in groups for row in self.rows if row.group == group)

    def row(self, key: str) -> Row:
        """The row of that key; KeyError if there is none."""
        for row in self.rows:
            if row.key == key:
                return row
        raise KeyError(key)

    def _repr_html_(self) -> str:
        """The page in a frame of its own, as notebooks show it: no style leaves it or enters."""
        from kurabe.comparison.drawings.page import draw_html

        page = html.escape(draw_html(self))
        return (
            f'<iframe srcdoc="{page}" title="{html.escape(self.title)}" sandbox="allow-popups" '
            'style="width: 100%; height: 42rem; border: 0"></iframe>'
        )

    def to_json(self) -> str:
        """The table as JSON; `from_json` of it gives an equal table, but for the study's folder."""
        return self.model_dump_json(by_alias=True, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Table":
        """Read a table that `to_json` wrote."""
        return cls.model_validate_json(text)
