"""A scheme: rules at up to three scales, composed, budgeted and projected, for named teachers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from trivium.errors import InputError, nearest, require
from trivium.former import renamed
from trivium.scheme.clamp_influence import ClampInfluence
from trivium.scheme.composition import Composition
from trivium.scheme.derivation import Derived
from trivium.scheme.on_critical import OnCritical
from trivium.scheme.power import Power
from trivium.scheme.product import Product
from trivium.scheme.project import Project
from trivium.scheme.tree import leaves
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.order import Order
from trivium.simplex.typed import fits, typed
from trivium.weighting.base import Features, Operator
from trivium.weighting.features import SCALES, Range, Scale
from trivium.weighting.task.static import Static

#: A rule, or a rule in wrappers that act on it alone, or a pair of one and its strength.
Term = Operator | tuple[Operator, float]


@renamed(teachers="teacher_names")
@dataclass(frozen=True)
class Scheme(Composition):
    """The weighting of the teachers in a run. Made by :func:`compose`.

    Attributes:
        teacher_names: their names; K is their number and the last axis of every weight.
        scales: the operator of each scale that has rules, after its strength and budget.
        root: the whole: product of the scales, then the projection if there is one.
        conforming: the set the root projects into, or None.
        trusted: the set it projects into on critical inputs, or None.
    """

    teacher_names: tuple[str, ...]
    scales: Mapping[Scale, Operator]
    root: Operator
    conforming: ConformingSet | None
    trusted: ConformingSet | None = None

    @property
    def ranges(self) -> Mapping[str, Range]:
        return self.root.ranges

    @property
    def operands(self) -> tuple[Operator, ...]:
        return (self.root,)

    def with_operands(self, operands: Sequence[Operator]) -> Self:
        (root,) = operands
        return replace(self, root=root)

    def derived(self, operands: Sequence[Derived]) -> Derived:
        """Return what is known of the root: a scheme adds names, and no step."""
        (root,) = operands
        return root

    def log_weights(self, features: Features) -> Tensor:
        """Return log-weights [..., K]. Leading axes of the features broadcast, so a task feature [B, 1, K] and a token
        feature [B, T, K] give [B, T, K].

        Raises:
            InputError: a feature whose last axis is not K (1 for a shared one, K·K for a pairwise one).
            RuleError: a feature that is missing or NaN, or a user's rule that returns no weights.
        """
        return self.root.log_weights(self._with_teachers(features))

    def by_scale(self, features: Features) -> dict[Scale, Tensor]:
        """Return log-weights of each scale alone, for logs and reports."""
        admitted = self._with_teachers(features)
        return {scale: operator.log_weights(admitted) for scale, operator in self.scales.items()}

    def _with_teachers(self, features: Features) -> dict[str, Tensor]:
        """Rules that read nothing still need to know K, the dtype and the device."""
        k = len(self.teacher_names)
        for name, interval in self.ranges.items():
            if name in features:
                width = interval.width(k)
                require(
                    features[name].shape[-1:] == (width,),
                    f"feature {name!r} must hold {width} number{'s' * (width != 1)} a row for {k} teachers",
                    f"shape {tuple(features[name].shape)}",
                    "Its last axis is the teachers'.",
                )
        like = next(iter(features.values()), torch.zeros(()))
        return {"teachers": like.new_zeros(k, dtype=torch.promote_types(like.dtype, torch.float32)), **features}

    def formula(self) -> str:
        return f"w = {self.root.formula()}"

    def __str__(self) -> str:
        names = ", ".join(f"{k} {name}" for k, name in enumerate(self.teacher_names))
        lines = [f"{scale:>7}: {operator.formula()}" for scale, operator in self.scales.items()]
        return "\n".join([f"teachers: {names}", *lines, self.formula()])


@renamed(teachers="teacher_names", margin="order_margin")
@typed(leave=(*SCALES, "budget"))
def compose(
    teacher_names: Sequence[str],
    *,
    token: Sequence[Term] = (),
    task: Sequence[Term] = (),
    context: Sequence[Term] = (),
    budget: float | Mapping[Scale, float] | None = None,
    floor: float = 0.0,
    cap: float = 1.0,
    order: str | None = None,
    order_margin: float = 0.0,
    critical_order: str | None = None,
    critical_margin: float = 0.0,
) -> Scheme:
    """w ∝ Π_scales limit(Π_rules w_r^α | B_scale), projected into C(floor, cap, order, margin).

    Args:
        teacher_names: distinct names, at least one.
        token, task, context: the rules of each scale, wrapped or not; a pair is (rule, strength α ≥ 0).
        budget: influence budget in nats. A mapping gives each scale its own; one number is the budget of the
            whole and is spent in equal parts on the scales that have rules (T3: influences add).
        floor, cap: bounds on every weight after the product (W-B).
        order: from safest to least safe, ``"a > b = c"`` (W-S), with ``order_margin`` nats between tiers.
        critical_order, critical_margin: likewise, but on critical inputs alone, which the feature ``critical`` tells;
            floor and cap hold there too. In place of ``order``.

    Raises:
        InputError: no or repeated teachers, something that is no rule or stands under the wrong scale, an unknown
            scale in ``budget``, a floor, cap or margin outside its range.
        InfeasibleError: floor, cap, order and margin that no weight vector meets (T1); the message says which to
            relax and to what value.

    >>> from trivium.weighting.token.entropy import Entropy
    >>> print(compose(["a", "b"], token=[Entropy(budget=2.0)], floor=0.1))
    teachers: 0 a, 1 b
      token: softmax(−1·entropy | β ≤ 2)
    w = project(softmax(−1·entropy | β ≤ 2) | 0.1 ≤ w ≤ 1)
    """
    names = tuple(teacher_names)
    require(len(names) > 0, "a scheme must have at least one teacher", "none", "Name the teachers.")
    require(len(set(names)) == len(names), "teachers' names must differ", list(names), "Rename one of them.")
    terms: dict[Scale, Sequence[Term]] = {"token": _listed(token), "task": _listed(task), "context": _listed(context)}
    present = [scale for scale in SCALES if terms[scale]]
    budgets = _budgets(budget, present)
    scales: dict[Scale, Operator] = {}
    for scale in present:
        operator = _one_scale(scale, terms[scale])
        scales[scale] = ClampInfluence(operator, budgets[scale]) if scale in budgets else operator
    parts: tuple[Operator, ...] = tuple(scales.values()) or (Static(),)
    root = parts[0] if len(parts) == 1 else Product(parts)
    conforming = None
    if (floor, cap, order_margin) != (0.0, 1.0, 0.0) or order is not None:
        tiers = Order.parse(order, names) if order is not None else None
        conforming = ConformingSet(len(names), floor, cap, tiers, order_margin)
        root = Project(root, conforming)
    trusted = None
    if critical_order is not None:
        require(
            order is None,
            "a safety order must be asked everywhere or on critical inputs, not both",
            f"{order!r} and {critical_order!r}",
            "Leave one out.",
        )
        trusted = ConformingSet(len(names), floor, cap, Order.parse(critical_order, names), critical_margin)
        root = OnCritical(root, trusted)
    else:
        require(
            critical_margin == 0.0, "a margin on critical inputs needs an order there", critical_margin, "Give one."
        )
    return Scheme(names, scales, root, conforming, trusted)


def _listed(terms: Any) -> Sequence[Term]:
    """Return the rules of a scale; one that is no list is taken for its only rule, and told of if it is none."""
    return terms if isinstance(terms, Sequence) and not isinstance(terms, str | bytes) else [terms]


def _one_scale(scale: Scale, terms: Sequence[Term]) -> Operator:
    parts: list[Operator] = []
    for term in terms:
        operator, strength = term if isinstance(term, tuple) else (term, 1.0)
        rules = list(leaves(operator)) if isinstance(operator, Operator) else []
        require(
            bool(rules),
            f"what stands under {scale!r} must be a rule",
            repr(operator),
            "Call its class, or decorate the function with @trivium.rule(...).",
        )
        for rule in rules:
            require(
                rule.scale == scale,
                f"a rule under {scale!r} must be a {scale} rule",
                f"{rule.name!r}, a {rule.scale} rule",
                f"Move it under {rule.scale!r}.",
            )
        parts.append(operator if strength == 1.0 else Power(operator, strength))
    return parts[0] if len(parts) == 1 else Product(tuple(parts))


def _budgets(budget: float | Mapping[Scale, float] | None, present: Sequence[Scale]) -> dict[Scale, float]:
    if budget is None:
        return {}
    numbers = budget.values() if isinstance(budget, Mapping) else (budget,)
    fix = "4 nats let one teacher outweigh another 55 to 1."
    require(all(fits(number, float) for number in numbers), "a budget must be a number of nats", repr(budget), fix)
    if not isinstance(budget, Mapping):
        return {scale: float(budget) / len(present) for scale in present}
    for scale in budget:
        if scale not in SCALES:
            raise InputError("a budget must name a scale", repr(scale), nearest(str(scale), SCALES))
    return {scale: float(value) for scale, value in budget.items() if scale in present}
