"""The gate before every trial: a scheme is evaluated only if the calculus proves what was asked of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trivium.certify.calculus import derive
from trivium.certify.decisions import decide
from trivium.certify.question import Question
from trivium.scheme import Scheme
from trivium.simplex.order import Order
from trivium.training.recipe import SchemeSection
from trivium.weighting import RULES
from trivium.weighting.base import Operator, Rule


@dataclass(frozen=True)
class Proof:
    """What the calculus says of one scheme.

    Attributes:
        proved: every axiom asked is proved.
        influence: the derived β, nats; infinite where nothing is known.
        reason: what is not proved, in the calculus's words; empty where all is.
    """

    proved: bool
    influence: float
    reason: str = ""


def question_of(names: Sequence[str], bare: SchemeSection, budget: float) -> Question:
    """Normalization, positivity, and budget, floor, cap and order as asked.

    Args:
        names: of the teachers. bare: floor, cap, order and margin; its rules are not looked at.
        budget: influence of the whole, nats.
    """
    return Question(
        len(names),
        tuple(names),
        floor=bare.floor or None,
        cap=bare.cap if bare.cap < 1.0 else None,
        influence=budget,
        order=None if bare.order is None else Order.parse(bare.order, tuple(names)),
        margin=bare.margin if bare.order is not None else 0.0,
    )


def prove(scheme: Scheme, question: Question) -> Proof:
    """W-F, W-N, W-P, W-B with β ≤ the budget and, with an order, W-S, over the whole feature box. Cost: milliseconds.

    That a rule from a user's file sees its own row alone (W-F) cannot be derived. It is left to the search of the
    certificate; of a rule of the catalogue it must be proved.
    """
    derived = derive(scheme, question.teachers)
    decisions = decide(derived, question)
    if not any(type(leaf) in RULES.values() and not leaf.row_local for leaf in _leaves(scheme)):
        del decisions["W-F"]
    proved = all(decision.proved for decision in decisions.values())
    lines = [line for decision in decisions.values() if not decision.proved for line in decision.lines]
    # Of several bounds of one axiom the reason is the one that is crossed.
    crossed = [line for line in lines if " > " in line or " < " in line]
    return Proof(proved, derived.constants.influence, "; ".join(crossed or lines))


def _leaves(operator: Operator) -> Iterator[Rule]:
    if isinstance(operator, Rule):
        yield operator
    elif dataclasses.is_dataclass(operator):
        for field in dataclasses.fields(operator):
            value: Any = getattr(operator, field.name)
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Operator):
                    yield from _leaves(part)
