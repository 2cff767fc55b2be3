"""Emoji by code point: one spelling, the family that stays together, the third kept for targets.

The same emoji by several vendors, and its forms by gender or skin tone, are one family. A fixed
third of all families, chosen by SHA-256 of the family's name, is reserved for targets: no base
trained here has seen any of it, whatever set a target is drawn from.
"""

import hashlib

PRESENTATION = {0xFE0E, 0xFE0F}
SKIN_TONES = {*range(0x1F3FB, 0x1F3FF + 1)}
SIGNS_OF_GENDER = {0x2640, 0x2642}
JOINER = 0x200D
WITHOUT_GENDER = {
    0x1F466: 0x1F9D2, 0x1F467: 0x1F9D2,
    0x1F468: 0x1F9D1, 0x1F469: 0x1F9D1,
    0x1F474: 0x1F9D3, 0x1F475: 0x1F9D3,
}  # fmt: skip
RESERVED_SHARE = 3


def code_points(text: str) -> tuple[int, ...]:
    """The code points in a file name such as "1F468-200D-1F33E", without presentation marks."""
    points = tuple(int(part, 16) for part in text.replace("_", "-").split("-"))
    return tuple(point for point in points if point not in PRESENTATION)


def spelled(points: tuple[int, ...]) -> str:
    """One spelling of an emoji: lower-case hex digits, joined by "-"."""
    return "-".join(f"{point:x}" for point in points)


def has_skin_tone(points: tuple[int, ...]) -> bool:
    """Whether it is a variant in one of the five skin tones, or such a tone itself."""
    return not SKIN_TONES.isdisjoint(points)


def family(points: tuple[int, ...]) -> str:
    """The name that an emoji shares with its forms by gender and skin tone."""
    kept = [
        WITHOUT_GENDER.get(point, point)
        for point in points
        if point not in SKIN_TONES | SIGNS_OF_GENDER | PRESENTATION
    ]
    while kept and kept[-1] == JOINER:
        kept.pop()
    return spelled(tuple(kept))


def is_reserved(points: tuple[int, ...]) -> bool:
    """Whether an emoji belongs to the third of families that only targets may use."""
    digest = hashlib.sha256(family(points).encode()).digest()
    return int.from_bytes(digest[:8], "big") % RESERVED_SHARE == 0


def group_of(points: tuple[int, ...]) -> int:
    """A group number that the family has in every set: 62 bits of its SHA-256."""
    digest = hashlib.sha256(family(points).encode()).digest()
    return int.from_bytes(digest[8:16], "big") >> 2
