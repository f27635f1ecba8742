"""T0, first half: which axioms follow from others, proved for all real weights.

Independence, the other half, is in :mod:`trivium.theory.independence`.
"""

from __future__ import annotations

import math
from typing import Any

from trivium.errors import require
from trivium.simplex.geometry import influence_to_range
from trivium.theory.rows import TheoremRow
from trivium.theory.smt import TEACHERS, Statement, proved, proved_once, solver


def influence_on_compact(influence: float, lipschitz: float, diameter: float) -> float:
    """β ≤ β₀ + L·D nats at every input of a compact feature set (T0).

    Args:
        influence: β₀ = β(w(u₀)) ≥ 0 at any one input u₀, finite where w(u₀) > 0.
        lipschitz: L ≥ 0 of W-R, nats a unit of the features.
        diameter: D ≥ 0, the largest distance between two inputs.

    Raises:
        InputError: a negative or infinite argument.

    >>> influence_on_compact(0.0, 2.0, 1.5)
    3.0
    """
    for name, value in (("influence", influence), ("lipschitz", lipschitz), ("diameter", diameter)):
        require(0.0 <= value < math.inf, f"{name} must be a finite number ≥ 0", value)
    return influence + lipschitz * diameter


#: The steps of "W-P and W-R on a compact set give W-B" that are not arithmetic.
ARGUMENT = (
    "Let D be the diameter of the compact feature set, u₀ an input and β₀ = β(w(u₀)), finite by W-P.",
    "W-R gives d_H(w(u), w(u₀)) ≤ L·d(u, u₀) ≤ L·D; with r = e^{L·D}: w_j(u)·w_k(u₀) ≤ r·w_j(u₀)·w_k(u) for all j, k.",
    "By SMT, with s = e^{β₀}: w_j(u) ≤ r·s·w_k(u), which is β(w(u)) ≤ β₀ + L·D.",
    "By SMT, with B = r·s and W-N: 1/(1 + (K−1)·B) ≤ w_k(u) ≤ B/(B + K−1), so W-B holds with these bounds.",
    "Taking logarithms, and that D is finite because the set is compact, are the steps done on paper.",
)


def rows() -> tuple[TheoremRow, ...]:
    """Return the implications of T0, and an instance that meets the bound on a compact set."""
    pair = "SMT, any two teachers, so every K"
    return (
        proved("W-B with a floor a > 0 implies W-P", TEACHERS, _floor_is_positive),
        proved("W-N and a floor a imply the cap b whenever b ≥ 1 − (K−1)·a", TEACHERS, _floor_caps),
        proved("… and no smaller cap: for b < 1 − (K−1)·a, a ≤ 1/K, some w breaks it", TEACHERS, _floor_caps_no_more),
        proved_once("W-P and W-R on a compact set bound influence: β ≤ β₀ + L·D", _ratio(), f"{pair}; rest on paper"),
        proved("W-N and influence ≤ log B imply the floor 1/(1 + (K−1)·B)", TEACHERS, influence_floors),
        proved("W-N and influence ≤ log B imply the cap B/(B + K−1)", TEACHERS, influence_caps),
        _attained(),
    )


def _weights(num_teachers: int, name: str = "w") -> Any:
    return solver().RealVector(name, num_teachers)


def _floor_is_positive(num_teachers: int) -> Statement:
    w, a = _weights(num_teachers), solver().Real("a")
    return [a > 0, *(w_k >= a for w_k in w)], solver().And([w_k > 0 for w_k in w])


def _floor_caps(num_teachers: int) -> Statement:
    z3, w = solver(), _weights(num_teachers)
    a, b = z3.Reals("a b")
    premises = [z3.Sum(w) == 1, *(w_k >= a for w_k in w), b >= 1 - (num_teachers - 1) * a]
    return premises, z3.And([w_k <= b for w_k in w])


def _floor_caps_no_more(num_teachers: int) -> Statement:
    z3 = solver()
    a, b = z3.Reals("a b")
    w = [1 - (num_teachers - 1) * a, *[a] * (num_teachers - 1)]
    premises = [a >= 0, num_teachers * a <= 1, b < 1 - (num_teachers - 1) * a]
    return premises, z3.And(z3.Sum(w) == 1, *(w_k >= a for w_k in w), w[0] > b)


def _ratio() -> Statement:
    w_j, w_k, v_j, v_k, r, s = solver().Reals("w_j w_k v_j v_k r s")
    premises = [w_j > 0, w_k > 0, v_j > 0, v_k > 0, r >= 1, s >= 1, w_j * v_k <= r * v_j * w_k, v_j <= s * v_k]
    return premises, w_j <= r * s * w_k


def influence_floors(num_teachers: int) -> Statement:
    """w > 0, Σ w = 1, w_j ≤ B·w_k for all pairs ⇒ w_k·(1 + (K−1)·B) ≥ 1; also the step of T3."""
    w, ratio, premises = _of_influence(num_teachers)
    return premises, solver().And([w_k * (1 + (num_teachers - 1) * ratio) >= 1 for w_k in w])


def influence_caps(num_teachers: int) -> Statement:
    """w > 0, Σ w = 1, w_j ≤ B·w_k for all pairs ⇒ w_k·(B + K−1) ≤ B; also the step of T3."""
    w, ratio, premises = _of_influence(num_teachers)
    return premises, solver().And([w_k * (ratio + num_teachers - 1) <= ratio for w_k in w])


def _of_influence(num_teachers: int) -> tuple[Any, Any, list[Any]]:
    z3, w, ratio = solver(), _weights(num_teachers), solver().Real("B")
    pairs = [w_j <= ratio * w_k for w_j in w for w_k in w if w_j is not w_k]
    return w, ratio, [z3.Sum(w) == 1, ratio >= 1, *(w_k > 0 for w_k in w), *pairs]


def _attained() -> TheoremRow:
    """w(u) = softmax(L·u, 0, 0) on [0, D] from u₀ = 0: d_H(w(u), w(0)) = L·u, so β(w(D)) = 0 + L·D."""
    lipschitz, diameter, num_teachers = 2.0, 1.5, 3
    top = math.exp(lipschitz * diameter) / (math.exp(lipschitz * diameter) + num_teachers - 1)
    rest = (1 - top) / (num_teachers - 1)
    seen, bound = math.log(top / rest), influence_on_compact(0.0, lipschitz, diameter)
    cap = influence_to_range(bound, num_teachers)[1]
    return TheoremRow(
        "… and this bound is the least one",
        "ATTAINED",
        "softmax(L·u, 0, 0) on [0, D], L = 2, D = 1.5",
        f"β = {seen:.4f} = β₀ + L·D, and w₀ = {top:.4f} meets the cap",
        math.isclose(seen, bound, rel_tol=1e-12) and math.isclose(top, cap, rel_tol=1e-12),
        {"influence": seen, "bound": bound, "weight": top, "cap": cap},
    )
