"""Sizes of images: pixels a side, or WIDTHxHEIGHT where people write them; (height, width) inside.

No mathematics.
"""

import re
from typing import TypeAlias, cast

Sides: TypeAlias = tuple[int, int]
"""Height and width in pixels, in the order of an array's axes."""
Size: TypeAlias = int | str | Sides
"""What may be given for it: 32, "32", "48x32" (48 wide, 32 high) or (32, 48)."""

LEAST, MOST = 4, 2048
_WRITTEN = re.compile(r"(\d{1,9})(?:[x×](\d{1,9}))?", re.ASCII)
_WAYS = (
    "must be a whole number of pixels a side, or WIDTHxHEIGHT like 48x32, each at least "
    f"{LEAST} and at most {MOST}"
)


def sides_of(size: Size) -> Sides:
    """Height and width; ValueError for what is no size."""
    # Files of others may hold anything in its place.
    given: object = size
    if isinstance(given, tuple | list) and len(cast(list[int], given)) == 2:
        height, width = cast(list[int], given)
        return int(height), int(width)
    if isinstance(given, int):
        return given, given
    if isinstance(given, str) and (match := _WRITTEN.fullmatch(given.strip())):
        width = int(match[1])
        return int(match[2] or width), width
    raise ValueError(_WAYS)


def setting_of(size: Size) -> int | str:
    """As a recipe says it: a number where the image is square, else "WIDTHxHEIGHT".

    ValueError for what is no size, or one that images here cannot have.
    """
    height, width = sides_of(size)
    if not LEAST <= min(height, width) <= max(height, width) <= MOST:
        raise ValueError(_WAYS)
    return width if height == width else f"{width}x{height}"


def times(size: Size) -> str:
    """In words: "48×32", width first."""
    height, width = sides_of(size)
    return f"{width}×{height}"
