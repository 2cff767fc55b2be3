"""Sizes of images: pixels a side, or WIDTHxHEIGHT where people write them; (height, width) inside.

Ratios are WIDTH:HEIGHT. A bucket is a size that images of about one ratio have (NovelAI 2022,
"NovelAI improvements on Stable Diffusion": aspect ratio bucketing).
"""

import math
import re
from collections.abc import Sequence
from fractions import Fraction
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


_RATIO = re.compile(r"(\d{1,4}):(\d{1,4})", re.ASCII)
_RATIOS = 'must be a list of ratios, each WIDTH:HEIGHT in whole numbers from 1, like "3:2"'


def aspects_of(given: object) -> tuple[str, ...]:
    """Ratios of sides, each but once, as a recipe says them, also of "1:1,3:2".

    ValueError for what is none.
    """
    given = given.split(",") if isinstance(given, str) else given
    if not isinstance(given, list | tuple) or not given:
        raise ValueError(_RATIOS)
    named: dict[Fraction, str] = {}
    for one in cast(list[object], given):
        match = _RATIO.fullmatch(one.strip()) if isinstance(one, str) else None
        if match is None or not (int(match[1]) and int(match[2])):
            raise ValueError(f"{_RATIOS}, and {one!r} is none" if len(str(one)) < 20 else _RATIOS)
        ratio, text = Fraction(int(match[1]), int(match[2])), match[0]
        if ratio in named:
            raise ValueError(f"must name each ratio once, and {text} is {named[ratio]}")
        named[ratio] = text
    return tuple(named.values())


def bucket_sides(size: Size, aspects: Sequence[str], multiple: int) -> tuple[Sides, ...]:
    """The sides of each ratio r, about s √r wide and s / √r high, where s² is the size's area.

    Each is the nearest multiple, at least one. ValueError where two are the same, and for sides
    that images here cannot have.
    """
    height, width = sides_of(size)
    found: dict[Sides, str] = {}
    for text in aspects:
        ratio = float(Fraction(*map(int, text.split(":"))))
        exact = math.sqrt(height * width / ratio), math.sqrt(height * width * ratio)
        rows, columns = (max(math.floor(n / multiple + 0.5), 1) * multiple for n in exact)
        sides = rows, columns
        if not LEAST <= min(sides) <= max(sides) <= MOST:
            raise ValueError(
                f"{text} of {times(size)} is {times(sides)}, and sides are at least {LEAST} and "
                f"at most {MOST} pixels; leave it out"
            )
        if sides in found:
            raise ValueError(
                f"in steps of {multiple} pixels {found[sides]} and {text} of {times(size)} are "
                f"both {times(sides)}; leave one of them out"
            )
        found[sides] = text
    return tuple(found)


def nearest(image: Sides, buckets: Sequence[Sides]) -> int:
    """Which bucket has the ratio nearest to an image's, by the difference of logarithms.

    Of those that are as near, the first.
    """
    own = math.log(image[1] / image[0])
    apart = [round(abs(math.log(width / height) - own), 12) for height, width in buckets]
    return apart.index(min(apart))
