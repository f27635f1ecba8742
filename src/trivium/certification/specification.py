"""What is asked of an operator, and what an answer consists of.

A :class:`Specification` fixes the axioms and their parameters; a :class:`Result` is the answer for one axiom; a
:class:`Witness` is an input at which an axiom breaks, complete enough to be evaluated again elsewhere.
"""

from __future__ import annotations

import json
import math
import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from trivium.certification.earlier import modern_witness
from trivium.errors import InputError, require
from trivium.former import renamed
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.order import Order
from trivium.simplex.typed import Typed

#: Of the features of a witness.
DType = Literal["float32", "float64", "bfloat16"]
Verdict = Literal["PROVED", "VERIFIED", "NOT FALSIFIED", "VIOLATED"]
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)

#: Each axiom in a phrase about the rule, in the order of the table of a certificate.
STATEMENTS: Final[Mapping[str, str]] = {
    "W-F": "a function of its own row",
    "W-N": "sums to one",
    "W-P": "positive",
    "W-B": "within bounds",
    "W-R": "regular with constant L",
    "W-S": "respects the safety order",
    "W-C": "raises no teacher's loss to first order",
}


def default_names(num_teachers: int) -> tuple[str, ...]:
    """Return names by position: a, b, c … z, then t26, t27 …

    >>> default_names(3)
    ('a', 'b', 'c')
    """
    return tuple(string.ascii_lowercase[k] if k < 26 else f"t{k}" for k in range(num_teachers))


@renamed(teachers="num_teachers", margin="order_margin")
@dataclass(frozen=True)
class Specification(Typed):
    """The axioms asked of an operator over K teachers, with their parameters; None asks nothing.

    Attributes:
        num_teachers: K ≥ 1.
        names: the teachers' names; letters by position when left out.
        floor, cap: a ≤ w_k ≤ b for every teacher (W-B).
        lipschitz: L in d_H(w(u), w(u')) ≤ L·max over features f of ‖u_f − u'_f‖_∞, each in its own units (W-R).
        order: from safest to least safe, with ``order_margin`` nats between tiers (W-S).
        influence: a budget in nats on log(max w / min w) (W-B).
        pareto: no teacher's loss may rise to first order, whatever the Gram matrix of their gradients (W-C). Of an
            operator that does not read the feature ``gram`` it is asked with any gradients beside its features.
        critical: whether the order is asked where the feature ``critical`` is 1 alone, and not everywhere.

    Raises:
        InputError: K < 1, names that are not K different ones, a negative or non-finite parameter, a margin
            without an order.
        InfeasibleError: floor, cap, order and margin that no weight vector meets (T1).

    >>> Specification(3, floor=0.05).axioms
    ('W-F', 'W-N', 'W-P', 'W-B')
    """

    num_teachers: int
    names: tuple[str, ...] = ()
    floor: float | None = None
    cap: float | None = None
    lipschitz: float | None = None
    order: Order | None = None
    order_margin: float = 0.0
    influence: float | None = None
    pareto: bool = False
    critical: bool = False

    def __post_init__(self) -> None:
        require(self.num_teachers >= 1, "the number of teachers must be at least one", self.num_teachers)
        if not self.names:
            object.__setattr__(self, "names", default_names(self.num_teachers))
        require(
            len(self.names) == self.num_teachers and len(set(self.names)) == self.num_teachers,
            f"{self.num_teachers} teachers need {self.num_teachers} different names",
            ", ".join(self.names),
            "Give one name a teacher.",
        )
        for name in ("lipschitz", "influence", "order_margin"):
            value = getattr(self, name)
            require(
                value is None or (math.isfinite(value) and value >= 0), f"{name} must be a finite number ≥ 0", value
            )
        fix = "Give an order."
        require(
            self.order is not None or not self.critical, "what is asked on critical inputs is an order", "none", fix
        )
        require(
            self.order is not None or self.order_margin == 0.0,
            "a margin needs an order",
            self.order_margin,
            "Give --order.",
        )
        ConformingSet(
            self.num_teachers, self.floor or 0.0, 1.0 if self.cap is None else self.cap, self.order, self.order_margin
        )

    @property
    def axioms(self) -> tuple[str, ...]:
        """The ids asked, in the order of the table."""
        asked = ["W-F", "W-N", "W-P"]
        if not self.floor == self.cap == self.influence is None:
            asked.append("W-B")
        if self.lipschitz is not None:
            asked.append("W-R")
        if self.order is not None:
            asked.append("W-S")
        if self.pareto:
            asked.append("W-C")
        return tuple(asked)


@renamed(teachers="num_teachers", question="specification")
@dataclass(frozen=True)
class Witness:
    """An input at which an axiom breaks.

    Attributes:
        axiom: its id, or ``constants.influence``, ``constants.log_ratio``, ``constants.lipschitz`` for a declared
            constant that does not hold.
        features: rows × K (shared features rows × 1), by name.
        other: W-R: the second point. W-F: the batch in which other rows changed (None: a second call differs).
        dtype: of the features, ``"float32"``, ``"float64"`` or ``"bfloat16"``.
        num_teachers: K.
        residual: what was seen, > 0 (W-P: ≥ 0); infinite where the weights are not numbers.
        note: one sentence, what happens.
        row: the row that breaks the axiom.
        question: with the bounds that the residual is measured against.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    axiom: str
    features: Mapping[str, list[list[float]]]
    other: Mapping[str, list[list[float]]] | None
    dtype: DType
    num_teachers: Annotated[int, Field(ge=1)]
    residual: float
    note: str
    row: Annotated[int, Field(ge=0)] = 0
    specification: Specification | None = None

    def breaks(self, residual: float) -> bool:
        """Return whether a residual of this witness is a breach: > 0, for the strict W-P ≥ 0, or not a number."""
        return residual >= 0 if self.axiom == "W-P" else not residual <= 0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; numbers that JSON lacks become the strings ``Infinity``, ``-Infinity`` and ``NaN``.

        >>> w = Witness("W-N", {"x": [[0.0, 1.0]]}, None, "float32", 2, math.inf, "the weights are NaN")
        >>> Witness.from_json(w.to_json()) == w
        True
        """
        plain: dict[str, Any] = json.loads(_witnesses().dump_json(self))
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Witness:
        """Return the inverse of :meth:`to_json`.

        Raises:
            InputError: a field is missing, unknown or of the wrong kind.
        """
        try:
            return _witnesses().validate_python(modern_witness(data))
        except ValidationError as error:
            raise InputError("a witness must follow its schema", first_problem(error), "Write it again.") from None


@dataclass(frozen=True)
class Result:
    """The answer for one axiom.

    Attributes:
        axiom: its id.
        verdict: PROVED, VERIFIED, NOT FALSIFIED or VIOLATED.
        residual: the worst signed residual seen or derived, ≤ 0 when it holds; None where nothing was computed.
        tolerance: floating-point slack above zero that is not counted as a breach.
        where: the input of the worst residual, or the domain a proof covers, in words.
        derivation: a line a step, with theorem numbers.
        search: what was searched, in words; empty where nothing was.
        witness: given exactly when violated.
    """

    axiom: str
    verdict: Verdict
    residual: float | None
    tolerance: float = 0.0
    where: str = ""
    derivation: tuple[str, ...] = ()
    search: str = ""
    witness: Witness | None = None


def first_problem(error: ValidationError) -> str:
    """Return the first thing that is wrong, on one line: where and what."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])


@cache
def _witnesses() -> TypeAdapter[Witness]:
    return TypeAdapter(Witness)
