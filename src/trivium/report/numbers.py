"""Numbers as a reader sees them: three decimals, a true minus sign, a dash where there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Literal

#: Shown in place of NaN and of what is absent.
NOTHING: Final = "–"

Reading = Literal["lower", "higher", "no difference shown", "no interval"]


def finite(value: Any) -> float | None:
    """Return the number, or None where it is absent, not a number or not finite.

    >>> finite("0.5"), finite(float("nan")), finite(None), finite("inf")
    (0.5, None, None, None)
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def decimal(value: Any, *, sign: bool = False) -> str:
    """Return three decimals; powers of ten where three decimals would show a false zero.

    >>> decimal(-0.12345), decimal(0.5, sign=True), decimal(1.2e-8), decimal(float("nan")), decimal("inf")
    ('−0.123', '+0.500', '1.2e−08', '–', '∞')
    """
    number = finite(value)
    if number is None:
        infinite = str(value).lower() in ("inf", "-inf", "infinity", "-infinity")
        return ("−∞" if str(value).startswith("-") else "∞") if infinite else NOTHING
    number += 0.0  # −0.0 becomes 0.0
    form = ".3f" if number == 0 or abs(number) >= 5e-4 else ".1e"
    return format(number, ("+" if sign and number != 0 else "") + form).replace("-", "−")


def percent(value: Any) -> str:
    """Return a share with one decimal.

    >>> percent(0.98765), percent(None)
    ('98.8 %', '–')
    """
    number = finite(value)
    return NOTHING if number is None else f"{100 * number:.1f} %"


def bounds(value: Any) -> tuple[float, float] | None:
    """Return an interval as two finite ends, or None."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return None
    low, high = finite(value[0]), finite(value[1])
    return None if low is None or high is None else (min(low, high), max(low, high))


def interval(value: Any, *, sign: bool = False) -> str:
    """Both ends in brackets; empty where there is none.

    >>> interval([-0.15, 0.02], sign=True), interval(None)
    ('[−0.150, +0.020]', '')
    """
    ends = bounds(value)
    return "" if ends is None else f"[{decimal(ends[0], sign=sign)}, {decimal(ends[1], sign=sign)}]"


#: Two evaluations of one scheme differ by this much, in the units of a comparison.
ROUNDING = 1e-6


def reading(ends: Any) -> Reading:
    """Return what the interval of a difference allows to say. An end at zero, or within rounding of it, shows no
    difference.

    >>> reading([-0.2, -0.1]), reading([-0.1, 0.1]), reading([0.0, 0.1]), reading(None)
    ('lower', 'no difference shown', 'no difference shown', 'no interval')
    """
    known = bounds(ends)
    if known is None:
        return "no interval"
    low, high = known
    return "lower" if high < -ROUNDING else "higher" if low > ROUNDING else "no difference shown"


def rounded(value: Any, digits: int = 5) -> float | None:
    """``digits`` significant digits, or None: what a chart can show, at a third of the bytes."""
    number = finite(value)
    return None if number is None else float(f"{number:.{digits}g}")


def counted(number: int, noun: str) -> str:
    """
    >>> counted(1, "step"), counted(1200, "step")
    ('1 step', '1,200 steps')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
