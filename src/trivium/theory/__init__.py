"""The framework's theorems about the axioms, examined: proved, attained by an instance, or refuted by a counterexample.

Pure functions: numbers in, bounds and rows out. One file a group of theorems; each has a function without arguments
that returns a :class:`~trivium.theory.rows.Report`. ``trivium theory`` prints them, ``docs/theory.md`` is written from
them. Implications over the reals go through the SMT solver Z3 (``pip install 'trivium[theory]'``), which is loaded when
the first of them is examined.

>>> order = examine(["T5"])[0]
>>> order.holds, order.rows[0].word
(True, 'PROVED')
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from trivium.errors import InputError, nearest
from trivium.theory import axioms, convergence, counterexamples, existence, order, product, projection, stability
from trivium.theory.convergence import Rate
from trivium.theory.implications import influence_on_compact
from trivium.theory.rows import MEANING, Curve, Report, TheoremRow

#: How each theorem is examined, by its number.
THEOREMS: Final[Mapping[str, Callable[[], Report]]] = {
    "T0": axioms.examine,
    "T1": existence.examine,
    "T2": product.group,
    "T3": product.adds,
    "T4": stability.examine,
    "T5": order.examine,
    "T6": projection.examine,
    "T12": convergence.examine,
    "T14": counterexamples.examine,
}


def examine(theorems: Iterable[str] = tuple(THEOREMS)) -> list[Report]:
    """Examine theorems by number, all of them by default; a few seconds on one thread.

    Raises:
        InputError: a number that is not examined here, or no SMT solver.
    """
    asked = list(theorems)
    for number in asked:
        if number not in THEOREMS:
            raise InputError("a theorem must be one that is examined", repr(number), nearest(number, THEOREMS))
    return [THEOREMS[number]() for number in asked]


__all__ = ["MEANING", "THEOREMS", "Curve", "Rate", "Report", "TheoremRow", "examine", "influence_on_compact"]
