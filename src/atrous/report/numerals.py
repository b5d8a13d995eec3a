"""Numbers as the page shows them; an undefined value is a dash."""

import math

__all__ = ["DASH", "cell_count", "cell_percent", "count", "decimal", "percent", "plain"]

DASH = "–"


def percent(share: float | None, *, digits: int = 1) -> str:
    """Write a share in 0-1: 0.6841 is '68.4 %'. What is not all never reads 100 %, nor what is something 0 %."""
    if share is None or not math.isfinite(share):
        return DASH
    text, step = f"{100 * share:.{digits}f}", 10.0**-digits
    if share > 0 and float(text) == 0:
        return f"<{step:g} %"
    if share < 1 and float(text) >= 100:
        return f">{100 - step:.{digits}f} %"
    return f"{text} %"


def decimal(value: float | None, *, digits: int = 3) -> str:
    """Write a loss or another plain number: '0.412'."""
    return DASH if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def count(number: int) -> str:
    """Write a whole number with separators: '1,234,567'."""
    return f"{number:,}"


def cell_percent(share: float) -> str:
    """Write a share in 0-1 in at most four characters and without a sign: '0.4', '7.5', '62', '100'; zero is empty."""
    value = 100 * share
    if value == 0:
        return ""
    if value < 0.05:
        return "0"
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def cell_count(number: int) -> str:
    """Write a whole number in at most four characters: '950', '1.2k', '34k', '5.6M'; zero is empty."""
    if number == 0:
        return ""
    if number < 1000:
        return str(number)
    unit = next((unit for unit in range(1, 5) if number < 999.5 * 1000**unit), 5)
    value, letter = number / 1000**unit, " kMGTP"[unit]
    return f"{value:.1f}{letter}" if value < 9.95 else f"{value:.0f}{letter}"


def plain(value: object) -> str:
    """Write whatever a history row holds: a number shortly, a missing value as a dash."""
    if value is None:
        return DASH
    return f"{value:g}" if isinstance(value, float) else str(value)
