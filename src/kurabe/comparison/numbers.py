"""How numbers are written: the same in every drawing of a table."""

import math
from collections.abc import Iterable

MINUS = "−"


def number(value: float, decimals: int) -> str:
    """A number with so many decimals: .021, −.002, 4.10, 12,800; no zero before the point."""
    text = f"{abs(value):,.{decimals}f}"
    if decimals and text.startswith("0."):
        text = text[1:]
    negative = value < 0 and any(digit in "123456789" for digit in text)
    return MINUS + text if negative else text


def decimals_for(values: Iterable[float]) -> int:
    """As many decimals, up to three, as give the smallest value two significant digits."""
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    if not sizes:
        return 0
    return min(3, max(0, 1 - math.floor(math.log10(min(sizes)))))


def spread(mean: float, low: float | None, high: float | None, decimals: int) -> str:
    """A mean with half its interval: .021 ± .004; the mean alone where that half is not seen."""
    half = 0.0 if low is None or high is None else (high - low) / 2
    if round(half, decimals) == 0:
        return number(mean, decimals)
    return f"{number(mean, decimals)} ± {number(half, decimals)}"


def rounded_up(value: float, decimals: int) -> str:
    """A gap as it may be promised: never smaller than it is, never shown as zero."""
    scale = 10**decimals
    shown = math.ceil(value * scale - 1e-9) / scale
    return number(shown, decimals) if shown else number(value, decimals + 2)
