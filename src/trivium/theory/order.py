"""T5: when a product keeps the safety order."""

from __future__ import annotations

import math
from fractions import Fraction

import torch

from trivium.axioms import OrdinalSafety
from trivium.scheme import Product
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.constants import bounded, fixed
from trivium.simplex.geometry import log_normalize
from trivium.simplex.order import Order
from trivium.theory.product import compose
from trivium.theory.rows import Report, TheoremRow
from trivium.theory.smt import Statement, proved_once, solver

_ARGUMENT = (
    "The normalizer cancels in w_j/w_k, so each pair of the order is looked at alone, and any number of scales by "
    "induction: the others together are one scale whose influence over the pair is the sum of theirs (T3).",
)
_CHAIN = Order(((0,), (1,), (2,)))
_SURPLUS = 1e-6


def examine() -> Report:
    """T5, its proofs, the counterexample, and both sides of the condition."""
    pair = "SMT, any pair of the order, so every K"
    rows = (
        proved_once("If every scale weakly respects the order, so does the product", _weak(), pair),
        proved_once(
            "If one scale does by m ≥ the influence of the others over the pair, so does the product", _margin(), pair
        ),
        proved_once("… and for every smaller m there are other scales that undo the order", _no_less(), pair),
        _counterexample(),
        _instance(+_SURPLUS),
        _instance(-_SURPLUS),
    )
    return Report(
        "T5", "A product keeps the safety order iff the margin covers the other scales' influence", rows, _ARGUMENT
    )


def _weak() -> Statement:
    u_j, u_k, v_j, v_k = solver().Reals("u_j u_k v_j v_k")
    return [u_k > 0, v_k > 0, u_j >= u_k, v_j >= v_k], u_j * v_j >= u_k * v_k


def _margin() -> Statement:
    """e for e^m, r for e^β of the others over this pair."""
    u_j, u_k, v_j, v_k, e, r = solver().Reals("u_j u_k v_j v_k e r")
    premises = [u_j > 0, u_k > 0, v_j > 0, v_k > 0, r >= 1, u_j >= e * u_k, v_k <= r * v_j, e >= r]
    return premises, u_j * v_j >= u_k * v_k


def _no_less() -> Statement:
    """Return the least-ordered element u = (e, 1) of margin log e, against v = (1, r) of influence log r > log e."""
    e, r = solver().Reals("e r")
    u_j, u_k, v_j, v_k = e, 1, 1, r
    return [e >= 1, r > e], u_j * v_j < u_k * v_k


def _counterexample() -> TheoremRow:
    """In rational arithmetic, so that the three numbers are exact."""
    disordered, ordered = [tuple(Fraction(n, 10) for n in row) for row in ((2, 6, 2), (5, 3, 2))]
    result = compose(disordered, ordered)
    logs = [torch.tensor([float(w) for w in row], dtype=torch.float64).log() for row in (ordered, result)]
    axiom = OrdinalSafety(_CHAIN)
    kept, lost = (float(axiom.residual(log_w)) for log_w in logs)
    exact = result == (Fraction(5, 16), Fraction(9, 16), Fraction(1, 8))
    shown = ", ".join(f"{float(w):g}" for w in result)
    return TheoremRow(
        "If one of two scales respects the order 0>1>2, so does their product",
        "REFUTED",
        "(.2, .6, .2) ⊕ (.5, .3, .2), exact rational arithmetic",
        f"({shown}): teacher 1 outweighs the safer 0; W-S residual {lost:+.4f} nats",
        exact and kept <= 0 < lost,
        {"residual": lost, **{f"w{k}": float(w) for k, w in enumerate(result)}},
    )


def _instance(surplus: float) -> TheoremRow:
    """Margin 1.2 against another scale of influence 1.2 − surplus, directed against the order."""
    order_margin, other = 1.2, 1.2 - surplus
    ordered = ConformingSet(3, order=_CHAIN, order_margin=order_margin).element()
    against = torch.tensor([-other, 0.0, 0.0], dtype=torch.float64)
    axiom = OrdinalSafety(_CHAIN)
    residual = float(axiom.residual(log_normalize(ordered + against)))
    known = Product.constants([fixed(ordered), bounded(3, other, {})]).order_margin(_CHAIN)
    holds = surplus > 0
    return TheoremRow(
        f"m = 1.2 against influence 1.2 {'−' if holds else '+'} 1e-6: the order {'holds' if holds else 'is lost'}",
        "ATTAINED",
        "the element of C with margin m, and a scale that demotes the safest",
        f"W-S residual {residual:+.1e} nats, margin by the calculus {known:+.1e}",
        math.isclose(residual, -surplus, rel_tol=1e-6) and (known >= 0) == holds,
        {"residual": residual, "calculus_margin": known},
    )
