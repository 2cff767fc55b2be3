"""How wide text is in a terminal, how it is broken into lines, and what an encoding can say.

Characters of East Asian width A (≠ ± × ↑ …) are one cell wide in most terminals and two in many
Japanese ones; nothing in the output says which. So the table's columns are placed by cursor
position where there is a terminal, and marks stand last, where nothing follows them.
"""

import codecs
import re
import unicodedata
from functools import lru_cache

# Tried in order until the encoding has one; marks keep apart from the "?" of "cannot tell".
_STAND_INS = {
    "≈": ("≒", "~"),
    "≠": ("!=",),
    "—": ("―", "-"),
    "–": ("-",),
    "−": ("-",),
    "↗": ("→", "->"),
    "→": ("->",),
    "↑": ("(+)",),
    "↓": ("(-)",),
    "±": ("+-",),
    "×": ("x",),
    "\u00a0": (" ",),
    "·": ("・", "-"),
    "…": ("...",),
    "≤": ("≦", "<="),
    "≥": ("≧", ">="),
    "₀": ("0",),
    "α": ("alpha",),
    "τ": ("tau",),
    "λ": ("lambda",),
}

_NO_LINE_START = "、。，．,.:;!?！？）」』】〕〉》”’)]}ー・々ぁぃぅぇぉっゃゅょァィゥェォッャュョ"
_NO_LINE_END = "（「『【〔〈《“‘([{"


@lru_cache(maxsize=4096)
def _can(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def sayable(text: str, encoding: str) -> str:
    """The text in characters that the encoding has: ≒ for ≈ in cp932, and so on.

    What has no stand-in becomes its \\u escape, never a question mark: that is a verdict.
    """
    codecs.lookup(encoding)
    return "".join(_say(character, encoding) for character in text)


def _say(character: str, encoding: str) -> str:
    if _can(character, encoding):
        return character
    for stand_in in _STAND_INS.get(character, ()):
        if all(_can(part, encoding) for part in stand_in):
            return stand_in
    return character.encode("ascii", "backslashreplace").decode("ascii")


@lru_cache(maxsize=8192)
def _cell_width(character: str, ambiguous: int) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Mn", "Me"):
        return 0
    kind = unicodedata.east_asian_width(character)
    return 2 if kind in "WF" else ambiguous if kind == "A" else 1


def width(text: str, ambiguous: int = 1) -> int:
    """Cells that the text takes where characters of ambiguous width take so many."""
    return sum(_cell_width(character, ambiguous) for character in text)


def wrap(text: str, columns: int, ambiguous: int = 2) -> list[str]:
    """Lines of at most so many cells, broken at spaces and between East Asian characters.

    No line begins with a closing mark or small kana, or ends with an opening bracket; a word
    longer than a line is cut.
    """
    lines: list[str] = []
    line = ""
    for piece in _pieces(text):
        while width(line + piece.rstrip(), ambiguous) > columns:
            if line.strip():
                lines.append(line.rstrip())
                line, piece = "", piece.lstrip()
                continue
            cut = _fitting(piece, columns, ambiguous)
            lines.append(piece[:cut])
            piece = piece[cut:]
        line += piece
    return [*lines, line.rstrip()] if line.strip() or not lines else lines


def _fitting(piece: str, columns: int, ambiguous: int) -> int:
    cut = 1
    while cut < len(piece) and width(piece[: cut + 1], ambiguous) <= columns:
        cut += 1
    return cut


# Words end at spaces and at hyphens between letters; a wide character is a word.
_PIECE = re.compile(
    r"[^ \n\u2E80-\uFFEF]+?(?:(?<=[A-Za-z]-)(?=[A-Za-z])|(?=[\u2E80-\uFFEF])|[ \n]+|$)"
    r"|[\u2E80-\uFFEF][ \n]*|[ \n]+"
)


def _pieces(text: str) -> list[str]:
    """What may not be broken: Latin words with the space behind, single wide characters."""
    pieces: list[str] = []
    # A no-break space is part of a word.
    for piece in _PIECE.findall(text):
        stays = pieces and (piece[0] in _NO_LINE_START or pieces[-1].rstrip()[-1:] in _NO_LINE_END)
        if stays and not pieces[-1][-1:].isspace():
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces
