"""A composition: an operator made of others. Its class says all that is known of it, alone in its file.

Value (``log_weights``), constants, derivation and the key beside a rule in a recipe stand together, so that a new
composition is one file and its name in ``COMPOSITIONS`` (:mod:`trivium.scheme`); ``docs/contributing.md`` adds one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from trivium.scheme.derivation import Derived
from trivium.simplex.constants import Constants
from trivium.weighting.base import Operator
from trivium.weighting.features import Range


@dataclass(frozen=True)
class Key:
    """A key beside a rule in a recipe, whose value is the argument of the wrapper that declares it.

    Attributes:
        name: of the key.
        description: what ``trivium recipe`` prints beside it.
        turn: of several keys beside a rule, that with the smallest turn is put around it first.
        limits: what the value, a number, keeps: ``gt``, ``ge``, ``lt``, ``le``.
        default: the value with which nothing is wrapped.
    """

    name: str
    description: str
    turn: float
    limits: Mapping[str, float] = field(default_factory=dict)
    default: float | None = None


class Composition(Operator):
    """An operator made of others.

    A final class gives its value and :meth:`derived`. What it declares is argued from its own code, so a subclass that
    computes in another way inherits no proof, and of a composition that is not in ``COMPOSITIONS`` the constants count
    as declared, its form for nothing.
    """

    @property
    @abstractmethod
    def operands(self) -> tuple[Operator, ...]:
        """The operators that it is made of, in order."""

    @abstractmethod
    def with_operands(self, operands: Sequence[Operator]) -> Self:
        """Return the same composition of as many other operators."""

    @abstractmethod
    def derived(self, operands: Sequence[Derived]) -> Derived:
        """Return what is known of the whole, from what is known of each operand: its step of the derivation."""


@dataclass(frozen=True)
class Wrapper(Composition):
    """A composition around one part, whose features it reads.

    ``key``: its key beside a rule in a recipe, if it has one; the value is then its only argument besides its part.
    """

    part: Operator
    key: ClassVar[Key | None] = None

    @abstractmethod
    def constants(self, part: Constants) -> Constants:
        """Return what it makes of the constants of its part; the docstring is the proof.

        Bounds are rounded outward (:mod:`trivium.simplex.rounding`), so that they are true in exact arithmetic.
        """

    @abstractmethod
    def after(self, part: Derived) -> Derived:
        """Return what is known of the whole after what is known of its part, with the lines that say why."""

    @property
    def ranges(self) -> Mapping[str, Range]:
        return self.part.ranges

    @property
    def operands(self) -> tuple[Operator, ...]:
        return (self.part,)

    def with_operands(self, operands: Sequence[Operator]) -> Self:
        (part,) = operands
        return replace(self, part=part)

    def derived(self, operands: Sequence[Derived]) -> Derived:
        (part,) = operands
        return self.after(part)
