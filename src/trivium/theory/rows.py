"""The record of an examined theorem: rows of a table, the written argument, curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

Word = Literal["PROVED", "ATTAINED", "REFUTED", "CHECKED"]

#: What each word of a row means; these are words about theorems, not the verdicts of a certificate.
MEANING: Final[Mapping[Word, str]] = {
    "PROVED": "for every case named: an SMT solver found the negation unsatisfiable, or the argument is written out",
    "ATTAINED": "a bound met with equality, or an object shown to exist, by an instance that was computed here",
    "REFUTED": "the claim is false, and here is the counterexample",
    "CHECKED": "computed on the instances named, without exception; no proof by itself",
}


@dataclass(frozen=True)
class TheoremRow:
    """One claim and what came out.

    Attributes:
        claim: the statement, a line.
        word: what is said of it if it came out as stated.
        how: by what means, and for which cases.
        seen: the numbers that carry it, a line; rounded so that it does not depend on the machine.
        holds: whether it came out as stated. A REFUTED claim holds when its counterexample does refute it.
        numbers: the same, unrounded.
    """

    claim: str
    word: Word
    how: str
    seen: str
    holds: bool
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """A recorded path: ``y`` against ``x``."""

    name: str
    x_label: str
    y_label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Report:
    """One theorem, examined.

    Attributes:
        theorem: its number.
        title: what it says, a line.
        rows: its claims.
        argument: the part that is proved on paper and not by the solver, a step a line.
        curves: recorded paths, of the dynamical statements.
    """

    theorem: str
    title: str
    rows: tuple[TheoremRow, ...]
    argument: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every row came out as stated."""
        return all(row.holds for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, ``holds`` included."""
        return {**asdict(self), "holds": self.holds}
