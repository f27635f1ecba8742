"""Bounds in words. A number that is printed as a bound is rounded to the safe side."""

from __future__ import annotations

import math
from collections.abc import Callable

from trivium.simplex.constants import Constants


def describe(constants: Constants) -> str:
    """Return one phrase: influence, range and regularity, whatever of them is known.

    >>> from trivium.simplex.constants import bounded
    >>> describe(bounded(3, 2.0, {"entropy": 2.0}))
    'β ≤ 2 nats, 0.06337 ≤ w ≤ 0.787, L ≤ 2 in entropy'
    """
    phrases = []
    if math.isfinite(constants.influence):
        phrases.append(f"β ≤ {most(constants.influence)} nats")
    if constants.floor > 0 or constants.cap < 1:
        phrases.append(f"{least(constants.floor)} ≤ w ≤ {most(constants.cap)}")
    lipschitz = constants.lipschitz
    if not all(math.isfinite(value) for value in lipschitz.values()):
        phrases.append("L unknown")
    elif len(lipschitz) == 1:
        phrases.extend(f"L ≤ {most(value)} in {name}" for name, value in lipschitz.items())
    else:
        phrases.append(f"L ≤ {most(constants.total_lipschitz)}" if lipschitz else "L = 0")
    return ", ".join(phrases)


def most(value: float) -> str:
    """Return an upper bound with four digits (whole numbers in full), rounded up.

    >>> most(0.78699), most(1 / 3), most(0.1 + 0.2)
    ('0.787', '0.3334', '0.3')
    """
    return _rounded(value, math.ceil)


def least(value: float) -> str:
    """Return a lower bound with four digits (whole numbers in full), rounded down.

    >>> least(1 / 3), least(0.0), least(1.0000001)
    ('0.3333', '0', '1')
    """
    return _rounded(value, math.floor)


def _rounded(value: float, towards: Callable[[float], int]) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}".replace("inf", "∞").replace("-", "−")
    digits = max(-300, math.floor(math.log10(abs(value))))
    unit = 10.0 ** min(0, digits - 3)
    # 2e-9 of a unit: 0.2 is printed as 0.2 although its double is a little more.
    nearest = round(value / unit)
    steps = nearest if abs(value / unit - nearest) < 2e-9 else towards(value / unit)
    return f"{steps * unit:.{max(4, digits + 1)}g}".replace("-", "−")
