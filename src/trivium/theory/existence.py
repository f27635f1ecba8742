"""T1: when weights that conform exist, what to relax when none do, and that they are not unique."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trivium.errors import InfeasibleError
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.geometry import total_variation
from trivium.simplex.order import Order
from trivium.simplex.projection import conforming_projection
from trivium.theory.rows import Report, TheoremRow
from trivium.theory.smt import TEACHERS, Statement, proved, solver

TITLE = "A conforming set is empty exactly when its floor or cap is out of reach; otherwise it holds many operators"
ARGUMENT = (
    "With e = e^m and S = 1 + e + … + e^{K−1} (S = K without an order), SMT proves for a strict chain: a ≤ 1/S and "
    "b ≥ e^{K−1}/S are necessary, and w_i = e^i/S is an element when they hold.",
    "Tiers with ties: S counts each tier as often as it has teachers; the same proof is in simplex.ConformingSet.",
    "Σ w = 1, a ≤ w ≤ b and w_j ≥ e^m·w_k are linear in w, so C is convex: with two different elements it "
    "holds every point between them, and an operator for each.",
)
_CHAIN = Order(((0,), (1,), (2,)))


def examine() -> Report:
    """T1, its proofs and instances."""
    return Report("T1", TITLE, (*_proofs(), *map(_relaxed, _EMPTY), _non_unique()), ARGUMENT)


def _proofs() -> tuple[TheoremRow, ...]:
    return (
        proved("Without an order: an element exists iff K·a ≤ 1 ≤ K·b", TEACHERS, _unordered),
        proved("Chain with margin m, necessary: a·S ≤ 1", TEACHERS, _needs_low_floor),
        proved("Chain with margin m, necessary: e^{m(K−1)} ≤ b·S", TEACHERS, _needs_high_cap),
        proved("Chain with margin m, sufficient: then w_i = e^{mi}/S is an element", TEACHERS, _suffices),
    )


def _unordered(num_teachers: int) -> Statement:
    z3 = solver()
    a, b = z3.Reals("a b")
    w = z3.RealVector("w", num_teachers)
    element = z3.And(z3.Sum(w) == 1, *(z3.And(w_k >= a, w_k <= b) for w_k in w))
    feasible = z3.And(num_teachers * a <= 1, num_teachers * b >= 1)
    uniform = z3.And(a <= z3.Q(1, num_teachers), z3.Q(1, num_teachers) <= b)
    return [a >= 0, a <= b], z3.And(z3.Implies(element, feasible), z3.Implies(feasible, uniform))


def _chain(num_teachers: int) -> tuple[list[Any], Any, Any, Any, Any]:
    """Premises of an element whose teacher i is of rank i; then a, b, e and S."""
    z3 = solver()
    a, b, e = z3.Reals("a b e")
    w = z3.RealVector("w", num_teachers)
    steps = [w[i + 1] >= e * w[i] for i in range(num_teachers - 1)]
    bounds = [bound for w_k in w for bound in (w_k >= a, w_k <= b)]
    total = z3.Sum([e**i for i in range(num_teachers)])
    return [a >= 0, e >= 1, z3.Sum(w) == 1, *bounds, *steps], a, b, e, total


def _needs_low_floor(num_teachers: int) -> Statement:
    premises, a, _, _, total = _chain(num_teachers)
    return premises, a * total <= 1


def _needs_high_cap(num_teachers: int) -> Statement:
    premises, _, b, e, total = _chain(num_teachers)
    return premises, b * total >= e ** (num_teachers - 1)


def _suffices(num_teachers: int) -> Statement:
    """Multiplied by S > 0: Σ e^i = S holds by definition, so what is left are the bounds and the steps."""
    z3 = solver()
    _, a, b, e, total = _chain(num_teachers)
    premises = [a >= 0, e >= 1, a * total <= 1, b * total >= e ** (num_teachers - 1)]
    bounds = [z3.And(e**i >= a * total, e**i <= b * total) for i in range(num_teachers)]
    return premises, z3.And(*bounds, *(e ** (i + 1) >= e * e**i for i in range(num_teachers - 1)))


_EMPTY: tuple[tuple[str, Callable[[float | None, float | None], ConformingSet]], ...] = (
    ("floor 0.4, 3 teachers", lambda a, b: ConformingSet(3, floor=0.4 if a is None else a)),
    ("cap 0.3, 3 teachers", lambda a, b: ConformingSet(3, cap=0.3 if b is None else b)),
    (
        "floor 0.1, chain of 3, margin 1",
        lambda a, b: ConformingSet(3, floor=0.1 if a is None else a, order=_CHAIN, order_margin=1.0),
    ),
    (
        "floor 0.2 and cap 0.4, chain of 3, margin 0.5",
        lambda a, b: ConformingSet(3, 0.2 if a is None else a, 0.4 if b is None else b, _CHAIN, 0.5),
    ),
    (
        "floor 0.25, a > b = c, margin 1",
        lambda a, b: ConformingSet(3, floor=0.25 if a is None else a, order=Order(((0,), (1, 2))), order_margin=1.0),
    ),
)


def _relaxed(case: tuple[str, Callable[[float | None, float | None], ConformingSet]]) -> TheoremRow:
    """An empty set is refused, its advice makes it feasible, and 1 % less of it does not."""
    name, build = case
    advice = advice_of(lambda: build(None, None))
    floor, cap = _number(r"lower it to ([\d.]+)", advice), _number(r"raise it to ([\d.]+)", advice)
    works = (floor is not None or cap is not None) and not advice_of(lambda: build(floor, cap))
    # Each advised value alone, a hundredth less generous, must leave the set empty: that is what "least" means.
    tighter = [(None if floor is None else 1.01 * floor, cap)] * (floor is not None)
    tighter += [(floor, None if cap is None else 0.99 * cap)] * (cap is not None)
    least = all(advice_of(lambda pair=pair: build(*pair)) for pair in tighter)  # type: ignore[misc]
    numbers = {key: value for key, value in (("floor", floor), ("cap", cap)) if value is not None}
    return TheoremRow(
        f"{name}: some weight vector conforms",
        "REFUTED",
        "T1; the advice works, 1 % less does not",
        advice,
        bool(works and least),
        numbers,
    )


def advice_of(build: Callable[[], object]) -> str:
    """Return what the error of an empty set advises; empty where the set is not.

    >>> advice_of(lambda: ConformingSet(3, floor=0.4))
    'floor 0.4 with 3 teachers: lower it to 0.333'
    """
    try:
        build()
    except InfeasibleError as error:
        return str(error).partition(". ")[2]
    return ""


def _number(pattern: str, text: str) -> float | None:
    found = re.search(pattern, text)
    return float(found.group(1)) if found else None


def projected_softmax(x: Tensor, conforming_set: ConformingSet) -> Tensor:
    """Return the first family: Π(softmax(−x)), the KL-nearest conforming weights."""
    return conforming_projection(torch.log_softmax(-x, dim=-1), conforming_set)


def floor_mixture(x: Tensor, conforming_set: ConformingSet) -> Tensor:
    """Return the second family: log(a + (1 − K·a)·softmax(−x)), for a set that is a floor alone."""
    floor, num_teachers = conforming_set.floor, conforming_set.num_teachers
    return (floor + (1 - num_teachers * floor) * torch.softmax(-x, dim=-1)).log()


def _non_unique() -> TheoremRow:
    conforming_set = ConformingSet(3, floor=0.05)
    x = torch.cat([12 * torch.rand(500, 3, generator=torch.Generator().manual_seed(0)).double(), torch.zeros(1, 3)])
    x[-1] = torch.tensor([0.0, 1.0, 4.0])
    first, second = projected_softmax(x, conforming_set), floor_mixture(x, conforming_set)
    conform = bool(conforming_set.contains(first).all() and conforming_set.contains(second).all())
    apart = total_variation(first, second)
    middle = (0.5 * first.exp() + 0.5 * second.exp()).log()
    shown = [", ".join(f"{w:.4f}" for w in log_w[-1].exp().tolist()) for log_w in (first, second)]
    return TheoremRow(
        "A non-empty set that is no single point determines its operator",
        "REFUTED",
        "floor 0.05: projected softmax(−x) against 0.05 + 0.85·softmax(−x) at x = (0, 1, 4)",
        f"({shown[0]}) and ({shown[1]}), TV {float(apart[-1]):.4f}; both conform at 501 inputs, so does their mean",
        conform and float(apart[-1]) > 0.01 and bool(conforming_set.contains(middle).all()),
        {"total_variation": float(apart[-1])},
    )
