"""T2 and T3: the normalized product is a group, and influence adds under it while floors and caps do not survive."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from trivium.scheme import Product
from trivium.simplex.constants import bounded, fixed
from trivium.simplex.geometry import hilbert, influence, influence_to_range, log_normalize
from trivium.theory.implications import influence_caps, influence_floors
from trivium.theory.rows import Report, TheoremRow
from trivium.theory.smt import TEACHERS, Statement, proved, proved_once, solver

Weights = tuple[Fraction, ...]

_GROUP = (
    "w ↦ log w maps positive weight vectors onto R^K up to an added constant, and Σ w = 1 picks one w for each class.",
    "There ⊕ is addition and a strength is a factor: the laws of a vector space hold, for every K. SMT proves the one "
    "law that the normalizers could spoil; the others are read off products of two numbers.",
)
_INFLUENCE = (
    "β(w) ≤ log r says w_j ≤ r·w_k for all pairs. By SMT, u_j ≤ r·u_k and v_j ≤ s·v_k give u_j·v_j ≤ r·s·u_k·v_k; the "
    "normalizer cancels, so β(u ⊕ v) ≤ log r + log s. More scales: by induction.",
)
_EXACT_TRIALS, _FLOAT_TRIALS = 200, 4000


def compose(u: Weights, v: Weights) -> Weights:
    """u ⊕ v in rational arithmetic.

    >>> [float(w) for w in compose(_exact("1/5 3/5 1/5"), _exact("1/2 3/10 1/5"))]
    [0.3125, 0.5625, 0.125]
    """
    raw = [a * b for a, b in zip(u, v, strict=True)]
    return tuple(x / sum(raw) for x in raw)


def _exact(text: str) -> Weights:
    return tuple(Fraction(part) for part in text.split())


def group() -> Report:
    """T2."""
    laws: dict[str, tuple[str, Callable[[Weights, Weights, Weights], bool]]] = {
        "commutative": ("u ⊕ v = v ⊕ u", lambda u, v, t: compose(u, v) == compose(v, u)),
        "associative": (
            "(u ⊕ v) ⊕ t = u ⊕ (v ⊕ t)",
            lambda u, v, t: compose(compose(u, v), t) == compose(u, compose(v, t)),
        ),
        "neutral": ("u ⊕ uniform = u", lambda u, v, t: compose(u, _uniform(len(u))) == u),
        "inverse": ("u ⊕ normalized(1/u) = uniform", lambda u, v, t: compose(u, _inverse(u)) == _uniform(len(u))),
        "strength": (
            "(u ⊕ v)^3 = u^3 ⊕ v^3",
            lambda u, v, t: _power(compose(u, v), 3) == compose(_power(u, 3), _power(v, 3)),
        ),
    }
    triples = list(_triples())
    rows = [
        TheoremRow(
            f"{name}: {law}",
            "CHECKED",
            f"exact rational arithmetic, {len(triples)} random triples, K = 1…6",
            "equal in all",
            all(holds(*triple) for triple in triples),
        )
        for name, (law, holds) in laws.items()
    ]
    proofs = (
        proved_once(
            "(u ⊕ v) ⊕ t and u ⊕ (v ⊕ t) agree in w_j/w_k, whatever the normalizers",
            _associative(),
            "SMT, any two teachers, so every K",
        ),
        proved("Weights that agree in all ratios and sum to one are equal", TEACHERS, _ratios_decide),
    )
    title = "The normalized product is a commutative group, scaled by strengths"
    return Report("T2", title, (*proofs, *rows, _float()), _GROUP)


def _associative() -> Statement:
    z3 = solver()
    names = "u_j u_k v_j v_k t_j t_k z1 z2 z3 z4"
    u_j, u_k, v_j, v_k, t_j, t_k, z_1, z_2, z_3, z_4 = z3.Reals(names)
    first = [(u * v / z_1) * t / z_2 for u, v, t in ((u_j, v_j, t_j), (u_k, v_k, t_k))]
    second = [u * (v * t / z_3) / z_4 for u, v, t in ((u_j, v_j, t_j), (u_k, v_k, t_k))]
    return [z3.Real(name) > 0 for name in names.split()], first[0] * second[1] == second[0] * first[1]


def _ratios_decide(num_teachers: int) -> Statement:
    z3 = solver()
    y, x = z3.RealVector("y", num_teachers), z3.RealVector("x", num_teachers)
    same = [y[j] * x[k] == x[j] * y[k] for j in range(num_teachers) for k in range(j)]
    premises = [z3.Sum(y) == 1, z3.Sum(x) == 1, *(value > 0 for value in (*y, *x)), *same]
    return premises, z3.And([a == b for a, b in zip(y, x, strict=True)])


def _triples() -> Iterator[tuple[Weights, Weights, Weights]]:
    source = random.Random(0)
    for trial in range(_EXACT_TRIALS):
        num_teachers = 1 + trial % 6
        rows = [[source.randint(1, 10**6) for _ in range(num_teachers)] for _ in range(3)]
        yield tuple(tuple(Fraction(x, sum(row)) for x in row) for row in rows)  # type: ignore[misc]


def _uniform(num_teachers: int) -> Weights:
    return (Fraction(1, num_teachers),) * num_teachers


def _inverse(u: Weights) -> Weights:
    raw = [1 / x for x in u]
    return tuple(x / sum(raw) for x in raw)


def _power(u: Weights, n: int) -> Weights:
    raw = [x**n for x in u]
    return tuple(x / sum(raw) for x in raw)


def _float() -> TheoremRow:
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for num_teachers in range(1, 9):
        u, v, t = (
            8 * torch.randn(3, _FLOAT_TRIALS, num_teachers, generator=generator, dtype=torch.float64)
        ).log_softmax(-1)
        pairs = (
            (_plus(u, v), _plus(v, u)),
            (_plus(_plus(u, v), t), _plus(u, _plus(v, t))),
            (_plus(u, torch.zeros_like(u)), u),
            (_plus(u, -u), torch.zeros_like(u)),
            (log_normalize(1.7 * _plus(u, v)), _plus(log_normalize(1.7 * u), log_normalize(1.7 * v))),
        )
        worst = max(worst, *(float(hilbert(a, b).max()) for a, b in pairs))
    return TheoremRow(
        "The laws survive float64 up to rounding",
        "CHECKED",
        f"{_FLOAT_TRIALS:,} random triples for each K = 1…8, strength 1.7, weights down to e^-70",
        "every d_H below 1e-12",
        worst < 1e-12,
        {"worst_hilbert": worst},
    )


def _plus(u: Tensor, v: Tensor) -> Tensor:
    return log_normalize(u + v)


def adds() -> Report:
    """T3."""
    rows = (
        proved_once("Influence adds: β(u ⊕ v) ≤ β(u) + β(v)", _pair(), "SMT, any two teachers, so every K"),
        proved("β ≤ log B gives min w ≥ 1/(1 + (K−1)·B)", TEACHERS, influence_floors),
        proved("β ≤ log B gives max w ≤ 1/(1 + (K−1)/B)", TEACHERS, influence_caps),
        _met(),
        _range_met(),
        _floors_lost(),
        _budget_kept(),
    )
    return Report("T3", "Influence budgets add under the product; floors and caps do not survive it", rows, _INFLUENCE)


def _pair() -> Statement:
    u_j, u_k, v_j, v_k, r, s = solver().Reals("u_j u_k v_j v_k r s")
    premises = [u_j > 0, u_k > 0, v_j > 0, v_k > 0, r >= 1, s >= 1, u_j <= r * u_k, v_j <= s * v_k]
    return premises, u_j * v_j <= r * s * u_k * v_k


def _logs(*w: float) -> Tensor:
    return torch.tensor(w, dtype=torch.float64).log()


def _met() -> TheoremRow:
    u, v = _logs(0.8, 0.1, 0.1), _logs(0.5, 0.25, 0.25)
    parts, whole = [float(influence(u)), float(influence(v))], float(influence(u + v))
    constants = Product.constants([bounded(3, part, {}) for part in parts])
    return TheoremRow(
        "… with equality",
        "ATTAINED",
        "(.8, .1, .1) ⊕ (.5, .25, .25)",
        f"β = {whole:.4f} = {parts[0]:.4f} + {parts[1]:.4f}",
        math.isclose(whole, sum(parts), rel_tol=1e-12) and math.isclose(constants.influence, whole, rel_tol=1e-12),
        {"whole": whole, "sum": sum(parts)},
    )


def _range_met() -> TheoremRow:
    low, high = log_normalize(_logs(1.0, 8.0, 8.0)).exp(), log_normalize(_logs(8.0, 1.0, 1.0)).exp()
    floor, cap = influence_to_range(math.log(8), 3)
    return TheoremRow(
        "… and both bounds are met",
        "ATTAINED",
        "B = 8, K = 3: (1, 8, 8)/17 and (8, 1, 1)/10",
        f"min w = {float(low.min()):.4f} = 1/17, max w = {float(high.max()):.4f}",
        math.isclose(float(low.min()), floor, rel_tol=1e-12) and math.isclose(float(high.max()), cap, rel_tol=1e-12),
        {"floor": floor, "cap": cap},
    )


def scales(weights: Sequence[float], count: int) -> Tensor:
    """Return the product of ``count`` scales that all have these weights, as weights."""
    return log_normalize(count * _logs(*weights)).exp()


def _floors_lost() -> TheoremRow:
    w = scales((0.8, 0.1, 0.1), 3)
    constants = Product.constants([fixed(_logs(0.8, 0.1, 0.1))] * 3)
    top, least = float(w.max()), float(w.min())
    return TheoremRow(
        "Floor and cap of the scales hold for their product",
        "REFUTED",
        "three teachers in [0.1, 0.8] at each of three scales",
        f"max w = {top:.3f} > 0.8, min w = {least:.4f} < 0.1; the calculus bounds them by {constants.cap:.3f} and "
        f"{constants.floor:.4f}",
        abs(top - 0.996) < 5e-4 and least < 0.1 and constants.cap >= top * (1 - 1e-12),
        {"max": top, "min": least, "calculus_cap": constants.cap},
    )


def _budget_kept() -> TheoremRow:
    third = math.log(8) / 3
    top = float(scales((math.exp(third), 1.0, 1.0), 3).max())
    return TheoremRow(
        "A budget of log 8 spent in equal parts on three scales keeps the whole in [1/17, 0.8]",
        "ATTAINED",
        "three scales of influence (log 8)/3 that agree",
        f"max w = {top:.4f}",
        math.isclose(top, influence_to_range(math.log(8), 3)[1], rel_tol=1e-12),
        {"max": top},
    )
