"""The gate before every trial: a scheme is evaluated only if the calculus proves what was asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trivium.certification.calculus import derive
from trivium.certification.decisions import decide
from trivium.certification.specification import Specification
from trivium.scheme import Scheme
from trivium.scheme.tree import leaves
from trivium.simplex.order import Order
from trivium.training.recipe import SchemeSection
from trivium.weighting import RULES


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


def specification_of(names: Sequence[str], bare: SchemeSection, budget: float) -> Specification:
    """Normalization, positivity, and budget, floor, cap and order as asked.

    Args:
        names: of the teachers. bare: floor, cap, order and margin; its rules are not looked at.
        budget: influence of the whole, nats.
    """
    return Specification(
        len(names),
        tuple(names),
        floor=bare.floor or None,
        cap=bare.cap if bare.cap < 1.0 else None,
        influence=budget,
        order=None if bare.order is None else Order.parse(bare.order, tuple(names)),
        order_margin=bare.order_margin if bare.order is not None else 0.0,
    )


def prove(scheme: Scheme, specification: Specification) -> Proof:
    """W-F, W-N, W-P, W-B with β ≤ the budget and, with an order, W-S, over the whole feature box. Cost: milliseconds.

    That a rule from a user's file sees its own row alone (W-F), and returns numbers, cannot be derived. It is left to
    the search of the certificate; of a rule of the catalogue both must be known.
    """
    derived = derive(scheme, specification.num_teachers)
    decisions = decide(derived, specification)
    catalogued = [leaf for leaf in leaves(scheme) if type(leaf) in RULES.values()]
    if all(leaf.row_local for leaf in catalogued):
        del decisions["W-F"]
    silent = [leaf.formula() for leaf in catalogued if leaf.constants(specification.num_teachers) is None]
    if silent:
        reason = f"nothing is declared by {' and '.join(silent)}, whose weights may be zero or no numbers at all"
        return Proof(False, derived.constants.influence, reason)
    proved = all(decision.proved for decision in decisions.values())
    lines = [line for decision in decisions.values() if not decision.proved for line in decision.lines]
    # Of several bounds of one axiom the reason is the one that is crossed.
    crossed = [line for line in lines if " > " in line or " < " in line]
    return Proof(proved, derived.constants.influence, "; ".join(crossed or lines))
