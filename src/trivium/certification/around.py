"""Compositions around a user's own rule: its graph is bounded first, and the calculus goes on from there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from trivium.certification.calculus import derive, node
from trivium.certification.decisions import decide
from trivium.certification.function_form import form_of
from trivium.certification.specification import Result, Specification
from trivium.certification.verify import bounded_leaf
from trivium.scheme.composition import Composition
from trivium.scheme.derivation import Derived, Step, escape
from trivium.scheme.tree import leaves
from trivium.scheme.words import describe
from trivium.simplex.constants import Constants
from trivium.simplex.rounding import log_slack, weight_slack
from trivium.weighting.base import Features, Operator, UserRule
from trivium.weighting.features import Range


@dataclasses.dataclass(frozen=True, eq=False)
class Bounded(Operator):
    """A user's rule with the constants that bounding its graph gave."""

    rule: UserRule
    known: Constants

    @property
    def ranges(self) -> Mapping[str, Range]:
        return self.rule.ranges

    def log_weights(self, features: Features) -> Tensor:
        return self.rule.log_weights(features)

    def formula(self) -> str:
        return self.rule.formula()


@node.register
def _bounded(operator: Bounded, num_teachers: int) -> Derived:
    text = f"{escape(operator.formula())}: {describe(operator.known)} (its graph bounded over the whole box)"
    form = form_of(operator.rule, num_teachers)
    lines = (*form.lines, "W-N, W-P: VERIFIED of its graph, see the verdicts")
    return Derived(operator.known, (Step(text, lines),), normalized=True, pure=form.pure)


def derive_around(operator: Operator, num_teachers: int) -> Derived | None:
    """Return the derivation of a composition in which every user rule that can be bounded is; None where there is none,
    or where the operator is that rule itself, which :func:`~trivium.certification.verify.verify` answers for."""
    if isinstance(operator, UserRule):
        return None
    own = {id(rule): rule for rule in leaves(operator) if isinstance(rule, UserRule)}
    found = {key: bounded_leaf(rule, num_teachers) for key, rule in own.items()}
    replaced = {key: Bounded(own[key], known) for key, known in found.items() if known is not None}
    return derive(_replaced(operator, replaced), num_teachers) if replaced else None


def verified_around(
    around: Derived, specification: Specification, found: Mapping[str, Result], settled: Iterable[str]
) -> dict[str, Result]:
    """Return the findings of a search, VERIFIED where the calculus settles an axiom from bounded rules and nothing
    broke."""
    merged, done = dict(found), set(settled)
    # Gradients that stand beside the features (W-C) say nothing of the function.
    if any(result.verdict == "VIOLATED" for result in found.values() if result.axiom != "W-C"):
        return merged
    for axiom, decision in decide(around, specification).items():
        if axiom in done or not decision.proved:
            continue
        in_logs = axiom in ("W-R", "W-S")
        slack = log_slack(torch.float32) if in_logs else weight_slack(torch.float32, specification.num_teachers)
        merged[axiom] = Result(
            axiom, "VERIFIED", decision.residual, slack, "the whole box", decision.lines, merged[axiom].search
        )
    return merged


def _replaced(operator: Operator, by: Mapping[int, Operator]) -> Operator:
    """Return the same tree with some leaves exchanged."""
    if id(operator) in by:
        return by[id(operator)]
    if not isinstance(operator, Composition):
        return operator
    return operator.with_operands([_replaced(operand, by) for operand in operator.operands])
