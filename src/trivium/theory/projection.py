"""T6: the closed form of the conforming projection is optimal, non-expansive and idempotent; clipping is none of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from trivium.axioms import BoundedInfluence
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.geometry import hilbert, kl, log_normalize
from trivium.simplex.order import Order
from trivium.simplex.projection import conforming_projection
from trivium.theory.rows import Report, TheoremRow
from trivium.theory.smt import exact, least_linear, solver
from trivium.theory.solved import CASES

_ARGUMENT = (
    "Optimality of a given y: KL(·‖w) is convex with gradient g_k = log(y_k/w_k) + 1, so KL(z‖w) ≥ KL(y‖w) + ⟨g, z−y⟩, "
    "and the excess of y is at most ⟨g, y⟩ − min over z in C of ⟨g, z⟩: a linear program, solved over the rationals.",
    "Non-expansive: isotonic regression (a max–min of means) and clipping are monotone and commute with adding a "
    "constant; such a map never increases max − min of a difference. The shift c that makes the sum one keeps this, "
    "since of two results with the same sum neither is larger everywhere. So d_H(Π(u), Π(v)) ≤ d_H(u, v).",
)


_TRIALS = 2000


def examine() -> Report:
    """T6, checked on cases, and the impostor."""
    rows = (_against_solver(), _certified(), _non_expansive(), _attained(), _identity(), _impostor())
    return Report(
        "T6", "The KL projection onto a conforming set has a closed form and never spoils regularity", rows, _ARGUMENT
    )


def excess_bound(log_w: Tensor, conforming_set: ConformingSet) -> float:
    """Return an upper bound of KL(Π(w)‖w) − min over C, in nats, by the gap of an exact linear program.

    Args:
        log_w: log weights [K] float64, finite.
        conforming_set: over K teachers. e^margin enters as the nearest double.
    """
    y = conforming_projection(log_w, conforming_set)
    slope = (y - log_w + 1).tolist()
    return float((y - log_w + 1) @ y.exp()) - least_linear(slope, lambda z: _polytope(z, conforming_set))


def _polytope(z: Sequence[Any], conforming_set: ConformingSet) -> Iterable[Any]:
    z3 = solver()
    floor, cap, ratio = (
        exact(x) for x in (conforming_set.floor, conforming_set.cap, math.exp(conforming_set.order_margin))
    )
    yield z3.Sum(list(z)) == 1
    for z_k in z:
        yield z3.And(z_k >= floor, z_k <= cap)
    order, ranks = conforming_set.order, conforming_set.ranks
    for j, k in order.pairs() if order is not None else ():
        if ranks[j] == ranks[k] + 1:
            yield z[j] >= ratio * z[k]


def _against_solver() -> TheoremRow:
    worst = 0.0
    for case in CASES:
        y = conforming_projection(torch.tensor(case.w, dtype=torch.float64).log(), case.conforming_set).exp()
        worst = max(worst, float((y - torch.tensor(case.solution, dtype=torch.float64)).abs().max()))
    return TheoremRow(
        "The closed form is the solution of a general conic solver",
        "CHECKED",
        f"{len(CASES)} stored solutions, with floors, caps, chains, ties and margins",
        "largest difference of a weight below 1e-5, the accuracy of those",
        worst < 1e-5,
        {"worst": worst},
    )


def cases(count: int, seed: int = 0) -> Iterator[tuple[Tensor, ConformingSet]]:
    """Random weights, down to e^-40, with a random set that has an element: K = 2…6, tiers with ties, margins."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> float:
        return float(torch.rand((), generator=generator, dtype=torch.float64))

    for trial in range(count):
        num_teachers = 2 + trial % 5
        ranks = [int(draw() * num_teachers) for _ in range(num_teachers)]
        tiers = tuple(tuple(k for k in range(num_teachers) if ranks[k] == r) for r in sorted(set(ranks), reverse=True))
        order = Order(tiers) if trial % 3 else None
        order_margin = draw() if order is not None and trial % 3 == 2 else 0.0
        limits = ConformingSet(num_teachers, order=order, order_margin=order_margin).element().exp()
        floor, cap = draw() * float(limits.min()), float(limits.max()) + draw() * (1 - float(limits.max()))
        spread = 10 ** (3 * draw() - 2)
        log_w = log_normalize(
            (spread * torch.randn(num_teachers, generator=generator, dtype=torch.float64)).clamp(-40, 40)
        )
        yield log_w, ConformingSet(num_teachers, floor, cap, order, order_margin)


def _certified() -> TheoremRow:
    gaps = [excess_bound(log_w, conforming_set) for log_w, conforming_set in cases(100)]
    return TheoremRow(
        "It is optimal: KL(Π(w)‖w) exceeds the minimum by rounding alone",
        "CHECKED",
        "optimality gap by an exact linear program, 100 random sets and weights, K = 2…6",
        "every gap below 1e-11 nats",
        max(gaps) < 1e-11,
        {"worst_gap": max(gaps)},
    )


def _non_expansive() -> TheoremRow:
    generator = torch.Generator().manual_seed(1)
    worst = -math.inf
    for log_w, conforming_set in cases(40, seed=1):
        shape = (_TRIALS, len(log_w))
        u = log_normalize(log_w + 3 * torch.randn(shape, generator=generator, dtype=torch.float64))
        step = 10 ** (4 * torch.rand(_TRIALS, 1, generator=generator, dtype=torch.float64) - 3)
        v = log_normalize(u + step * torch.randn(shape, generator=generator, dtype=torch.float64))
        moved = hilbert(conforming_projection(u, conforming_set), conforming_projection(v, conforming_set))
        worst = max(worst, float((moved - hilbert(u, v)).max()))
    return TheoremRow(
        "d_H(Π(u), Π(v)) ≤ d_H(u, v)",
        "CHECKED",
        f"{40 * _TRIALS:,} pairs in 40 random sets; the proof is on paper",
        "no pair is further apart afterwards, up to 1e-12",
        worst < 1e-12,
        {"worst_growth": worst},
    )


def _attained() -> TheoremRow:
    conforming_set = ConformingSet(3, 0.1, 0.6, Order(((0,), (1,), (2,))), 0.1)
    u, v = (torch.tensor(w, dtype=torch.float64).log() for w in ((0.5, 0.3, 0.2), (0.45, 0.4, 0.15)))
    before = float(hilbert(u, v))
    after = float(hilbert(conforming_projection(u, conforming_set), conforming_projection(v, conforming_set)))
    inside = bool(conforming_set.contains(u) and conforming_set.contains(v))
    return TheoremRow(
        "… with equality",
        "ATTAINED",
        "two elements of C(0.1, 0.6, 0>1>2, 0.1)",
        f"d_H = {before:.4f} before and after",
        inside and math.isclose(before, after, rel_tol=1e-12),
        {"before": before, "after": after},
    )


def _identity() -> TheoremRow:
    """Π(Π(w)) = Π(w), and elements of C stay where they are."""
    worst, inside = 0.0, True
    for log_w, conforming_set in cases(200, seed=2):
        y = conforming_projection(log_w, conforming_set)
        inside &= bool(conforming_set.contains(y))
        between = log_normalize(torch.logaddexp(y, conforming_set.element()))  # C is convex
        for element in (y, between):
            worst = max(worst, float(hilbert(conforming_projection(element, conforming_set), element)))
    return TheoremRow(
        "Π maps into C, is idempotent, and is the identity on C",
        "CHECKED",
        "200 random sets, their projections and the points half way to another element",
        "every d_H below 1e-12",
        inside and worst < 1e-12,
        {"worst": worst},
    )


def clip_and_renormalize(log_w: Tensor, floor: float, cap: float) -> Tensor:
    """Return what is often taken for the projection: log of clip(w, a, b)/Σ clip(w, a, b)."""
    return log_normalize(log_w.exp().clamp(floor, cap).log())


def _impostor() -> TheoremRow:
    log_w = torch.tensor([0.98, 0.01, 0.01], dtype=torch.float64).log()
    conforming_set, axiom = ConformingSet(3, 0.1, 0.5), BoundedInfluence(0.1, 0.5)
    clipped, projected = clip_and_renormalize(log_w, 0.1, 0.5), conforming_projection(log_w, conforming_set)
    breach, top = float(axiom.residual(clipped)), float(clipped.exp().max())
    right = projected.exp().tolist()
    return TheoremRow(
        "Clipping to [a, b] and renormalizing keeps W-B",
        "REFUTED",
        "(.98, .01, .01), a = 0.1, b = 0.5",
        f"it gives {top:.3f}, W-B residual {breach:+.3f}; the projection is ({', '.join(f'{y:.2f}' for y in right)})",
        abs(top - 5 / 7) < 1e-12 and breach > 0.2 and bool(conforming_set.contains(projected)),
        {"clipped": top, "residual": breach, "kl_of_projection": float(kl(projected, log_w))},
    )
