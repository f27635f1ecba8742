"""The schemes among which a fit chooses: fitted scores at up to three scales, multiplied and projected."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from trivium.errors import InputError, nearest, require
from trivium.former import renamed
from trivium.scheme import Scheme, Squash, compose
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.order import Order
from trivium.simplex.typed import Typed
from trivium.weighting import FittedScores
from trivium.weighting.features import BUILT_IN, NEEDS_LABEL, NEEDS_PREFIX, NEEDS_STUDENT, SCALES, Range, Scale
from trivium.weighting.token.scores import PER_TEACHER

#: Least share of a budget that a scale keeps, of an equal share: no scale is squashed to nothing while it is fitted.
LEAST_SHARE = 0.1
#: What is fitted where nothing is said, of what the data have.
TOKEN = ("entropy", "max_prob", "margin", "disagreement")
CONTEXT = tuple(sorted(NEEDS_PREFIX))


class Fit(NamedTuple):
    """A fitted rule and the nats it is squashed to."""

    rule: FittedScores
    budget: float


@renamed(margin="order_margin")
@dataclass(frozen=True)
class Family(Typed):
    """w = Π_C(⊗_s squash(Σ_f a_f·u_f + b_task | B_s)), with a_f, b and how a whole budget is shared to be fitted.

    Args:
        token, context: the features of these scales; ``task`` says whether each task has a bias a teacher.
        budget: nats in all, shared among the scales by the fit; or a number for each scale.
        floor, cap, order, order_margin: as of :func:`trivium.scheme.compose`.
        columns: the range of each feature that is not built in.

    Raises:
        InputError: a feature that is unknown, sees the label or the student, or stands at two scales; nothing to fit.
    """

    token: Sequence[str] = TOKEN
    context: Sequence[str] = CONTEXT
    task: bool = True
    budget: float | Mapping[Scale, float] = 4.0
    floor: float = 0.0
    cap: float = 1.0
    order: str | None = None
    order_margin: float = 0.0
    columns: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = [*PER_TEACHER, *self.columns]
        for name in self.features:
            if name not in known:
                raise InputError("what is fitted must have a number a teacher", repr(name), nearest(name, known))
            seen = "label" if name in NEEDS_LABEL else "student" if name in NEEDS_STUDENT else ""
            require(
                not seen,
                "weights are fitted to predict, by what is known before the token",
                f"{name!r}, which sees the {seen}",
                "On the mixture it would cheat; fit it on a student's validation loss.",
            )
        require(len(set(self.features)) == len(self.features), "a feature stands at one scale", self.features, "Once.")
        require(bool(self.scales), "there must be something to fit", "no feature and no bias", "Name a feature.")
        budgets = self.budget.values() if isinstance(self.budget, Mapping) else (self.budget,)
        for number in budgets:
            require(0.0 < number < math.inf, "a budget to fit in must be a positive number of nats", number, "Try 4.")
        if isinstance(self.budget, Mapping):
            lacking = [scale for scale in self.scales if scale not in self.budget]
            require(not lacking, "a budget by scale must be given for each scale that is fitted", lacking, "Add it.")

    @property
    def features(self) -> tuple[str, ...]:
        """All that are read, token ones first."""
        return (*self.token, *self.context)

    @property
    def scales(self) -> tuple[Scale, ...]:
        """Those with something to fit."""
        has = {"token": bool(self.token), "task": self.task, "context": bool(self.context)}
        return tuple(scale for scale in SCALES if has[scale])

    @property
    def whole(self) -> float:
        """The influence of the whole, nats (T3)."""
        if not isinstance(self.budget, Mapping):
            return float(self.budget)
        return sum(self.budget[scale] for scale in self.scales)

    def read_at(self, scale: Scale) -> tuple[str, ...]:
        """Return the features of one scale."""
        return tuple({"token": self.token, "context": self.context}.get(scale, ()))

    def ranges(self) -> dict[str, Range]:
        """Return the box of every feature."""
        return {n: Range(*self.columns[n]) if n in self.columns else BUILT_IN[n] for n in self.features}

    def conforming(self, teacher_names: Sequence[str]) -> ConformingSet | None:
        """Return the set that is projected into; None for no projection.

        Raises:
            InfeasibleError: bounds that no weights meet (T1).
        """
        if (self.floor, self.cap, self.order_margin) == (0.0, 1.0, 0.0) and self.order is None:
            return None
        order = None if self.order is None else Order.parse(self.order, teacher_names)
        return ConformingSet(len(teacher_names), self.floor, self.cap, order, self.order_margin)

    def scheme(self, teacher_names: Sequence[str], rules: Mapping[Scale, Fit]) -> Scheme:
        """These rules, squashed, multiplied and projected."""
        listed = {scale: [Squash(*rules[scale])] if scale in rules else [] for scale in SCALES}
        return compose(
            teacher_names,
            token=listed["token"],
            task=listed["task"],
            context=listed["context"],
            floor=self.floor,
            cap=self.cap,
            order=self.order,
            order_margin=self.order_margin,
        )


@dataclass(frozen=True)
class Layout:
    """Where each number to be fitted stands in the vector x, and its unit, infinite for a feature that tells nothing.

    Strengths are in units in which they move a centred score by one nat on the data (root mean square over teachers and
    tokens), so that one penalty fits all: a_f = x_f/unit_f. The biases are ``bias`` @ x, [tasks·K, its numbers]: the
    skill, one strength for the teachers' mean log-probabilities by task, and what departs from it, a number a task and
    teacher; a penalty shrinks them to the skill. The last numbers are logits ρ of how a whole budget is shared.
    """

    family: Family
    num_teachers: int
    tasks: int
    units: Mapping[str, Tensor]
    bias: Tensor

    def slices(self) -> dict[str, slice]:
        """By scale, then ``"shares"``."""
        found, start = {}, 0
        for scale in self.family.scales:
            stop = start + (self.bias.shape[1] if scale == "task" else len(self.units[scale]))
            found[str(scale)], start = slice(start, stop), stop
        if not isinstance(self.family.budget, Mapping) and len(self.family.scales) > 1:
            found["shares"] = slice(start, start + len(self.family.scales))
        return found

    @property
    def size(self) -> int:
        """How many numbers are fitted."""
        stops: list[int] = [part.stop for part in self.slices().values()]
        return max(stops)

    def budgets(self, x: Tensor) -> dict[Scale, float]:
        """B_s: those given, or B·((1 − ε)·softmax(ρ) + ε/S) with ε = .1 and S scales."""
        given, scales = self.family.budget, self.family.scales
        if isinstance(given, Mapping):
            return {scale: float(given[scale]) for scale in scales}
        if len(scales) == 1:
            return {scales[0]: float(given)}
        shares = (1 - LEAST_SHARE) * x[self.slices()["shares"]].softmax(-1) + LEAST_SHARE / len(scales)
        return {scale: float(given) * float(share) for scale, share in zip(scales, shares, strict=True)}

    def strengths(self, x: Tensor, scale: Scale) -> Tensor:
        """a_f of a scale's features; of the task scale the biases [tasks, K]."""
        numbers = x[self.slices()[scale]]
        return (self.bias @ numbers).view(self.tasks, -1) if scale == "task" else numbers / self.units[scale]

    def rules(self, x: Tensor) -> dict[Scale, Fit]:
        """Return the rules as a recipe states them: six digits, budgets rounded down so that they sum to no more.
        Features that tell nothing are left out."""
        budgets = self.budgets(x)
        given = isinstance(self.family.budget, Mapping)
        found: dict[Scale, Fit] = {}
        for scale in self.family.scales:
            numbers = self.strengths(x, scale)
            budget = budgets[scale] if given or len(self.family.scales) == 1 else _down(budgets[scale])
            if scale == "task":
                bias = tuple(tuple(_short(number) for number in row) for row in numbers.tolist())
                found[scale] = Fit(FittedScores({}, bias, scale=scale), budget)
                continue
            differs = self.units[scale].isfinite().tolist()
            known = zip(self.family.read_at(scale), map(_short, numbers.tolist()), differs, strict=True)
            named = {name: number for name, number, tells in known if tells}
            if not named:
                continue
            columns = {name: self.family.columns[name] for name in named if name in self.family.columns}
            found[scale] = Fit(FittedScores(named, (), columns, scale), budget)
        return found


def _short(number: float) -> float:
    return float(f"{number:.6g}") + 0.0  # no −0


def _down(budget: float) -> float:
    return float(f"{budget * (1 - 1e-4):.5g}")
