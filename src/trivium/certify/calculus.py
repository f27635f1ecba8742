"""The calculus of constants: from what the leaves declare to what the whole guarantees (T2–T6), as a proof to check.

:func:`derive` walks an operator tree. It dispatches on the type of the node, so a new kind of node registers its
own step with ``@node.register`` and nothing here changes. Arithmetic is that of
:mod:`trivium.simplex.constants`, rounded outward. :mod:`trivium.certify.decisions` compares the result with a question.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import torch

from trivium.certify.words import describe, most
from trivium.scheme.conform import Conform
from trivium.scheme.limit import Limit
from trivium.scheme.power import Power
from trivium.scheme.product import Product
from trivium.scheme.scheme import Scheme
from trivium.simplex.constants import Constants, bounded, limited, power, product, projected
from trivium.weighting import RULES
from trivium.weighting.base import Operator, Rule, ScoreRule


@dataclass(frozen=True)
class Step:
    """One node's part of a derivation. ``{0}``, ``{1}`` … in ``head`` stand for earlier steps, ``back`` steps ago."""

    head: str
    lines: tuple[str, ...] = ()
    back: tuple[int, ...] = ()


@dataclass(frozen=True)
class Derived:
    """What is known of an operator over its whole feature box.

    Attributes:
        constants: gaps and regularity; −∞ and +∞ where nothing is known.
        steps: the derivation, the operator itself last.
        normalized: weights sum to one at every input, by the form of the operator.
        pure: a row's weights depend on that row's features alone, by the form of the operator.
        unknown: leaves that declare nothing; the rest holds wherever these return a row that can be normalized.
        culprits: leaves because of which ``normalized`` or ``pure`` is not known.
    """

    constants: Constants
    steps: tuple[Step, ...]
    normalized: bool
    pure: bool
    unknown: tuple[str, ...] = ()
    culprits: tuple[str, ...] = ()

    @property
    def informative(self) -> bool:
        """Whether anything at all is known of the weights."""
        gap = self.constants.gap
        if gap.shape[0] == 1:  # one teacher has no ratios to bound
            return not self.unknown
        return bool((gap.isfinite() & ~torch.eye(gap.shape[0], dtype=torch.bool)).any())

    @property
    def positive(self) -> bool:
        """Every weight is positive: normalized, and no ratio of two weights is unbounded."""
        return self.normalized and math.isfinite(self.constants.influence)

    def lines(self) -> tuple[str, ...]:
        """The derivation as text: numbered steps, a theorem a line."""
        text = []
        for number, step in enumerate(self.steps, start=1):
            text.append(f"[{number}] " + step.head.format(*(f"[{number - back}]" for back in step.back)))
            text.extend(f"    {line}" for line in step.lines)
        return tuple(text)


def derive(operator: Operator, teachers: int) -> Derived:
    r"""Constants of ``operator`` for K teachers, with their derivation.

    An operator of a type that registers nothing is unknown: no gap, no regularity, neither normalized nor pure. So is
    one of a subclass that computes its weights in another way than the type that is registered.

    Raises:
        InputError: a leaf that cannot weight K teachers.

    >>> from trivium.scheme.limit import Limit
    >>> from trivium.weighting.token.entropy import Entropy
    >>> print(*derive(Limit(Entropy(), 2.0), 3).lines(), sep="\n")
    [1] softmax(−1·entropy): β ≤ 12 nats, 3.072e−06 ≤ w ≤ 1, L ≤ 2 in entropy (declared by the rule)
        W-N, W-P: it ends in a log-softmax of finite scores
    [2] limit([1] | β ≤ 2): β ≤ 2 nats, 0.06337 ≤ w ≤ 0.787, L ≤ 2 in entropy
        T3: log w ≥ max log w − 2 before normalizing: β = min(12, 2) = 2 nats
        T6: raising to a moving bound is monotone and shift-invariant: L kept
    """
    registered: Any = next(base for base in type(operator).__mro__ if base in node.registry)
    # What a Rule declares is a claim and is searched as one; what a node does is argued from its own code.
    argued = registered not in (Rule, object)
    if argued and type(operator).log_weights is not registered.log_weights:
        return _nothing_known(operator, teachers)
    return node(operator, teachers)


def known(operator: Operator, teachers: int) -> Constants | None:
    """The derived constants, or None where nothing at all is known."""
    derived = derive(operator, teachers)
    return derived.constants if derived.informative else None


@singledispatch
def node(operator: Operator, teachers: int) -> Derived:
    """The step of one kind of node; others register theirs here."""
    return _nothing_known(operator, teachers)


@node.register
def _leaf(rule: Rule, teachers: int) -> Derived:
    declared = rule.constants(teachers)
    if declared is None:
        return _nothing_known(rule, teachers)
    catalogued = type(rule) in RULES.values()
    by_softmax = isinstance(rule, ScoreRule) and type(rule).log_weights is ScoreRule.log_weights
    normalized = catalogued or by_softmax
    lines = ["W-N, W-P: it ends in a log-softmax of finite scores"] if normalized else []
    text = f"{_escape(rule.formula())}: {describe(declared)} (declared by the rule)"
    pure = catalogued and rule.row_local
    culprits = () if pure else (rule.formula(),)
    return Derived(declared, (Step(text, tuple(lines)),), normalized, pure, (), culprits)


@node.register
def _power(operator: Power, teachers: int) -> Derived:
    part = derive(operator.part, teachers)
    alpha = operator.strength
    if not math.isfinite(part.constants.influence):  # 0 · (−∞) would not be a number
        constants = _vacuous(operator, teachers)
        return _extend(part, f"{{0}}^{alpha:g}: nothing known, since {{0}} may be zero", (), constants, False)
    constants = power(part.constants, alpha)
    was, now = part.constants, constants
    lines = [f"T2: strength scales influence: {alpha:g} · {most(was.influence)} = {most(now.influence)} nats"]
    if was.regularity:
        lines.append(f"T2: and regularity: {alpha:g} · {most(was.lipschitz)} = {most(now.lipschitz)}")
    return _extend(part, f"{{0}}^{alpha:g}: {describe(constants)}", lines, constants, True)


@node.register
def _product(operator: Product, teachers: int) -> Derived:
    parts = [derive(part, teachers) for part in operator.parts]
    constants = product([part.constants for part in parts])
    influences = [part.constants.influence for part in parts]
    finite = all(math.isfinite(part.constants.influence) for part in parts)
    lines = [f"T3: influence adds: {_sum(influences, constants.influence)} nats"] if finite else []
    if any(part.constants.regularity for part in parts):
        lipschitz = [part.constants.lipschitz for part in parts]
        lines.append(f"T4: regularity adds: {_sum(lipschitz, constants.lipschitz)}")
    if finite:
        lines.append("T5: gaps log(w_j/w_k) add, pair by pair")
        lines.append("W-N, W-P: it ends in a log-softmax of finite scores")
    steps = tuple(step for part in parts for step in part.steps)
    lengths = [len(part.steps) for part in parts]
    back = tuple(1 + sum(lengths[place + 1 :]) for place in range(len(parts)))
    head = " ⊗ ".join(f"{{{place}}}" for place in range(len(parts))) + f": {describe(constants)}"
    return Derived(
        constants,
        (*steps, Step(head, tuple(lines), back)),
        normalized=finite,
        pure=all(part.pure for part in parts),
        unknown=_union([part.unknown for part in parts]),
        culprits=_union([part.culprits for part in parts]),
    )


@node.register
def _limit(operator: Limit, teachers: int) -> Derived:
    part = derive(operator.part, teachers)
    budget = operator.budget
    constants = limited(part.constants, budget)
    before = most(part.constants.influence)
    lines = [
        f"T3: log w ≥ max log w − {budget:g} before normalizing: "
        f"β = min({before}, {budget:g}) = {most(constants.influence)} nats",
        "T6: raising to a moving bound is monotone and shift-invariant: L kept",
    ]
    return _extend(part, f"limit({{0}} | β ≤ {budget:g}): {describe(constants)}", lines, constants, True)


@node.register
def _conform(operator: Conform, teachers: int) -> Derived:
    part = derive(operator.part, teachers)
    goal = operator.conforming
    constants = projected(part.constants, goal)
    lines = [f"T6: the range of the projection is the set: floor {goal.floor:g}, cap {goal.cap:g}"]
    if goal.order is not None:
        lines.append(f"T6: so is the order {_tiers(goal.order.tiers)}, by {goal.margin:g} nats")
    lines.append("T6: sorting, shifting and clipping are non-expansive in d_H: L kept")
    return _extend(part, f"project({{0}} | {_escape(str(goal))}): {describe(constants)}", lines, constants, True)


@node.register
def _scheme(operator: Scheme, teachers: int) -> Derived:
    return derive(operator.root, teachers)


def _vacuous(operator: Operator, teachers: int) -> Constants:
    return bounded(teachers, math.inf, dict.fromkeys(operator.ranges, math.inf))


def _nothing_known(operator: Operator, teachers: int) -> Derived:
    text = operator.formula()
    step = Step(f"{_escape(text)}: declares no constants")
    return Derived(_vacuous(operator, teachers), (step,), False, False, (text,), (text,))


def _extend(part: Derived, head: str, lines: Sequence[str], constants: Constants, normalized: bool) -> Derived:
    step = Step(head, tuple(lines), (1,))
    return replace(part, constants=constants, steps=(*part.steps, step), normalized=normalized)


def _union(groups: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))


def _sum(parts: Sequence[float], total: float) -> str:
    added = " + ".join(most(part) for part in parts)
    # The gap matrix keeps which teacher is favoured, so the whole may be less than the sum of the parts.
    relation = "=" if math.isclose(sum(parts), total, rel_tol=1e-9, abs_tol=1e-12) else "≥"
    return f"{added} {relation} {most(total)}"


def _tiers(tiers: tuple[tuple[int, ...], ...]) -> str:
    return " > ".join(" = ".join(str(teacher) for teacher in tier) for tier in tiers)


def _escape(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
