"""The calculus of constants: from what the leaves declare to what the whole guarantees (T2–T6), as a proof to check.

:func:`derive` walks an operator tree. A composition says itself what it makes of its parts
(:meth:`trivium.scheme.composition.Composition.derived`); what stands here is the walk, the step of a leaf, and what is
trusted. A node of another kind registers its step with ``@node.register``.
:mod:`trivium.certification.decisions` compares the result with a question.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import singledispatch
from typing import Any

from trivium.certification.function_form import Form, form_of, form_of_library
from trivium.scheme import COMPOSITIONS
from trivium.scheme.composition import Composition
from trivium.scheme.derivation import Derived, Step, escape
from trivium.scheme.words import describe
from trivium.simplex.constants import Constants, bounded
from trivium.weighting import RULES
from trivium.weighting.base import Operator, Rule, ScoreRule, UserRule


def derive(operator: Operator, num_teachers: int) -> Derived:
    r"""Return constants of ``operator`` for K teachers, with their derivation.

    An operator of a type that registers nothing is unknown: no gap, no regularity, neither normalized nor pure. So is
    one of a subclass that computes its weights in another way than the type that is registered.

    Raises:
        InputError: a leaf that cannot weight K teachers.

    >>> from trivium.scheme.clamp_influence import ClampInfluence
    >>> from trivium.weighting.token.entropy import Entropy
    >>> print(*derive(ClampInfluence(Entropy(), 2.0), 3).lines(), sep="\n")
    [1] softmax(−1·entropy): β ≤ 12 nats, 3.072e−06 ≤ w ≤ 1, L ≤ 2 in entropy (declared by the rule)
        W-N, W-P: it ends in a log-softmax of finite scores
    [2] limit([1] | β ≤ 2): β ≤ 2 nats, 0.06337 ≤ w ≤ 0.787, L ≤ 2 in entropy
        T3: log w ≥ max log w − 2 before normalizing: β = min(12, 2) = 2 nats
        T6: raising to a moving bound is monotone and shift-invariant: L kept
    """
    registered: Any = next(base for base in type(operator).__mro__ if base in node.registry)
    # What a Rule or a composition declares is looked at below; what another node does is argued from its own code.
    argued = registered not in (Rule, Composition, object)
    if argued and type(operator).log_weights is not registered.log_weights:
        return _nothing_known(operator, num_teachers)
    if changed(operator):
        return _nothing_known(operator, num_teachers)
    return node(operator, num_teachers)


def changed(operator: Operator) -> bool:
    """Return whether an operator computes in another way than its class says, or than the class its constants are from:
    a method that was put on the object, or a subclass of a known rule or composition that inherits the constants and
    not the code."""
    methods = ("log_weights", "weights", "admit", "score", "slopes", "ranges", "weigh")
    own = type(operator)
    computing = {name for name in methods if _computes(getattr(own, name, None))}
    if computing & set(vars(operator)):
        return True
    base = next((cls for cls in own.__mro__ if cls in RULES.values() or cls in COMPOSITIONS), own)
    between = own.__mro__[: own.__mro__.index(base)]
    overridden = any(name in vars(cls) for cls in between for name in methods)
    return overridden and not any("constants" in vars(cls) for cls in between)


def _computes(attribute: Any) -> bool:
    return callable(attribute) or isinstance(attribute, property)


def known(operator: Operator, num_teachers: int) -> Constants | None:
    """Return the derived constants, or None where nothing at all is known."""
    derived = derive(operator, num_teachers)
    return derived.constants if derived.informative else None


@singledispatch
def node(operator: Operator, num_teachers: int) -> Derived:
    """Return the step of one kind of node; others register theirs here."""
    return _nothing_known(operator, num_teachers)


@node.register
def _composition(operator: Composition, num_teachers: int) -> Derived:
    derived = operator.derived([derive(operand, num_teachers) for operand in operator.operands])
    if type(operator) in COMPOSITIONS:
        return derived
    *before, last = derived.steps
    step = replace(last, head=f"{last.head} (declared by {escape(type(operator).__name__)})")
    culprits = (*derived.culprits, operator.formula())
    return replace(derived, steps=(*before, step), normalized=False, pure=False, culprits=culprits)


@node.register
def _leaf(rule: Rule, num_teachers: int) -> Derived:
    declared, catalogued = rule.constants(num_teachers), type(rule) in RULES.values()
    if declared is None and catalogued:
        return _formed(rule, num_teachers, form_of_library(rule, num_teachers))
    if declared is None:
        return _nothing_known(rule, num_teachers)
    by_softmax = isinstance(rule, ScoreRule) and type(rule).log_weights is ScoreRule.log_weights
    normalized = catalogued or by_softmax
    held = "W-N, W-P: it ends in a log-softmax of finite scores"
    if not by_softmax:
        held = "W-N, W-P: it divides by the sum of its weights, which its finite influence keeps from zero"
    if not math.isfinite(declared.influence):
        held = "W-N: it divides by the sum of its weights, of which some may be zero"
    lines = [held] if normalized else []
    text = f"{escape(rule.formula())}: {describe(declared)} (declared by the rule)"
    pure = catalogued and rule.row_local
    culprits = () if pure else (rule.formula(),)
    pareto = rule.pareto(num_teachers) if catalogued else ""
    return Derived(declared, (Step(text, tuple(lines)),), normalized, pure, (), culprits, pareto=pareto)


@node.register
def _user(rule: UserRule, num_teachers: int) -> Derived:
    """Return a function that declares nothing: its graph shows that it is one of its row, and nothing else."""
    return _formed(rule, num_teachers, form_of(rule, num_teachers))


def _formed(rule: Rule, num_teachers: int, form: Form) -> Derived:
    unknown = _nothing_known(rule, num_teachers)
    culprits = () if form.pure else (f"{rule.formula()} ({form.why_not})",)
    step = replace(unknown.steps[0], lines=form.lines)
    return replace(unknown, steps=(step,), pure=form.pure, culprits=culprits)


def _nothing_known(operator: Operator, num_teachers: int) -> Derived:
    text = operator.formula()
    step = Step(f"{escape(text)}: declares no constants")
    nothing = bounded(num_teachers, math.inf, dict.fromkeys(operator.ranges, math.inf))
    return Derived(nothing, (step,), False, False, (text,), (text,))
