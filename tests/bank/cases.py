"""What a row of the bank is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trivium.certification.specification import Specification, default_names
from trivium.simplex.order import Order
from trivium.weighting.base import UserRule


@dataclass(frozen=True)
class Case:
    """A rule, what is asked of it, and what must come out.

    Attributes:
        make: makes the rule anew, without what earlier calls left behind.
        question: the axioms asked.
        breaks: axioms that must be VIOLATED; all others must not.
        also: axioms that may be, because the break implies them at some inputs.
        becomes: why the graph that is captured of it is a function of its row, so that W-F breaks as it is written but
            not as it runs; empty where W-F must be VIOLATED if it is in ``breaks``.
    """

    make: Callable[[], UserRule]
    specification: Specification
    breaks: frozenset[str] = frozenset()
    also: frozenset[str] = frozenset()
    becomes: str = ""

    @property
    def name(self) -> str:
        return self.make.__name__


CONFORMING: list[Case] = []
BROKEN: list[Case] = []


def ask(num_teachers: int = 3, order: str | None = None, **asked: float) -> Specification:
    """A question with an order in letters."""
    tiers = None if order is None else Order.parse(order, default_names(num_teachers))
    return Specification(num_teachers, order=tiers, **asked)


def _add(bank: list[Case], case: Case) -> None:
    """Once a name: looking for doctests imports the files of the bank a second time."""
    if all(case.name != known.name for known in bank):
        bank.append(case)


def conforms(specification: Specification) -> Callable[[Callable[[], UserRule]], Callable[[], UserRule]]:
    """Register a rule that breaks nothing of what is asked."""

    def register(make: Callable[[], UserRule]) -> Callable[[], UserRule]:
        _add(CONFORMING, Case(make, specification))
        return make

    return register


def breaks(
    axioms: str, specification: Specification, also: str = "", becomes: str = ""
) -> Callable[[Callable[[], UserRule]], Callable[[], UserRule]]:
    """Register a rule that breaks the axioms named, and perhaps the others in ``also``; see :class:`Case`."""

    def register(make: Callable[[], UserRule]) -> Callable[[], UserRule]:
        _add(BROKEN, Case(make, specification, frozenset(axioms.split()), frozenset(also.split()), becomes))
        return make

    return register
