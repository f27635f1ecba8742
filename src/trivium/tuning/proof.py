"""The gate before every trial: a scheme is evaluated only if the calculus proves what was asked of it."""

from __future__ import annotations

from dataclasses import dataclass

from trivium.certify.calculus import derive
from trivium.certify.decisions import decide
from trivium.certify.question import Question
from trivium.scheme import Scheme
from trivium.simplex.order import Order
from trivium.tuning.space import Space

#: W-F is left to the certificate: that a user's function sees its own row alone is searched there, never derived.
_NOT_ASKED = ("W-F",)


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


def question_of(space: Space) -> Question:
    """Normalization, positivity, and floor, cap, order and budget as asked."""
    bare, names = space.bare, tuple(space.recipe.teacher_names)
    return Question(
        len(names),
        names,
        floor=bare.floor or None,
        cap=bare.cap if bare.cap < 1.0 else None,
        influence=space.budget,
        order=None if bare.order is None else Order.parse(bare.order, names),
        margin=bare.margin if bare.order is not None else 0.0,
    )


def prove(scheme: Scheme, question: Question) -> Proof:
    """W-N, W-P, W-B with β ≤ the budget and, with an order, W-S, over the whole feature box. Cost: milliseconds."""
    derived = derive(scheme, question.teachers)
    decisions = {axiom: d for axiom, d in decide(derived, question).items() if axiom not in _NOT_ASKED}
    proved = all(decision.proved for decision in decisions.values())
    lines = [line for decision in decisions.values() if not decision.proved for line in decision.lines]
    # Of several bounds of one axiom the reason is the one that is crossed.
    crossed = [line for line in lines if " > " in line or " < " in line]
    return Proof(proved, derived.constants.influence, "; ".join(crossed or lines))
