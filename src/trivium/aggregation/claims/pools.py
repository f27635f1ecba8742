r"""What the aggregators claim, with the proofs.

**A-M for every power mean.** Raise w_k from its value to one, the others rescaled, by t ∈ [0, 1], and let r(i)^ρ be
the others' mean. The unnormalized pool is m = p·A^{1/ρ} with p = p_k, x = (r/p)^ρ, A = (1 − t)x + t, so

    KL(p‖q) = −(1/ρ) E_p[log A] + log E_p[A^{1/ρ}],
    d/dt KL(p‖q) = (1/ρ)·(E_q[B] − E_p[B]) = Cov_p(A^{1/ρ}, B) / (ρ·E_p[A^{1/ρ}]),  B = (1 − x)/A = (1/A − 1)/(1 − t).

B falls in A. For ρ > 0, A^{1/ρ} rises in A and the covariance is ≤ 0 (Chebyshev); for ρ < 0 it falls and the covariance
is ≥ 0. Either way the derivative is ≤ 0. r need not be normalized, so the entrywise pool is the case ρ = 1 with
r(i) = (q̃(i) − w_k(i)p_k(i))/(1 − w_k(i)) read off at each entry. Entries with p(i) = 0 are the limit A → ∞ (ρ > 0) or
ruled out for all t > 0 (ρ < 0). Twice more by convexity in t, with the minimum 0 at t = 1: for ρ = 1 KL is convex in
its second argument; for ρ → 0, KL(p‖q) = (1 − t)·KL(p‖r) + log Σ r^{1−t}p^t, a line and a convex function.

**A-T(a) for no power mean.** With the teachers (.9, .05, .05) and (.05, .9, .05) at w = ½ the softened pool is
∝ M_{ρ/T}^{1/T} and the pool softened ∝ M_ρ^{1/T}, M_s the power mean. At entry 3 both teachers have .05 and so have
both means; at entry 1 M_s rises strictly with s, so the ratio of the two entries differs for every ρ ≠ 0 and T ≠ 1. At
ρ → 0 both are the geometric mean: the log pool commutes, and it alone of the family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trivium.aggregation.claims import moduli
from trivium.aggregation.claims.table import Broken, Cell, Claims, ClaimsTable, Holds, PoolWitness
from trivium.aggregation.entrywise import EntrywiseLinearPool
from trivium.aggregation.linear import LinearPool
from trivium.aggregation.logarithmic import LogarithmicPool
from trivium.aggregation.power import PowerPool
from trivium.axioms.aggregation import (
    POOL_AXIOMS,
    BoundaryContinuity,
    ConvexityPreservation,
    PoolContinuity,
    PositivityInheritance,
    TemperatureCommutation,
    TemperatureFlattening,
    WeightMonotonicity,
)
from trivium.axioms.aggregation.pooling import Modulus
from trivium.axioms.transform import TransformAxiom

POSITIVE_EXPONENTS = (1e-6, 0.5, 2.0, 30.0)
NEGATIVE_EXPONENTS = (-1e-6, -0.5, -1.0, -30.0)

_TWO = ((0.9, 0.05, 0.05), (0.05, 0.9, 0.05))
_HALVES = (0.5, 0.5)
_ORDERS = PoolWitness(_TWO, _HALVES, {"temperature": 4.0})
_VETO = Broken(
    "(½, ½) and (1, 0): at w = (1 − 1e-12, 1e-12) the second rules entry 2 out, at w = (1, 0) it does not; "
    "q jumps by TV ½ however small the weight",
    PoolWitness(((0.5, 0.5), (1.0, 0.0)), (1 - 1e-12, 1e-12), {"moved_w": (1.0, 0.0)}),
)
_FLATTENS = Holds("each softened teacher is within e^(∓R/T)/V, and so is any mean of them", "positive")


def _axioms(modulus: Modulus, with_zeros: Modulus) -> dict[str, TransformAxiom]:
    every = (
        ConvexityPreservation(),
        PositivityInheritance(),
        WeightMonotonicity(),
        PoolContinuity(modulus),
        BoundaryContinuity(with_zeros),
        TemperatureCommutation(),
        TemperatureFlattening(),
    )
    return {axiom.id: axiom for axiom in every}


def _power(name: str, exponents: Sequence[float], cells: Mapping[str, Cell]) -> Claims:
    # A veto has no modulus at the boundary: its witness is judged by the linear pool's.
    closed = [moduli.power_with_zeros(rho) if rho > 0 else moduli.linear for rho in exponents]
    return Claims(
        name,
        "q ∝ (Σ_k w_k·p_k^ρ)^(1/ρ), ρ " + name[-3:],
        "O(K·V), three exponentials or logarithms a teacher and entry",
        "Cooke (1991); Amari (2007)",
        [PowerPool(rho) for rho in exponents],
        [_axioms(moduli.power(rho), zeros) for rho, zeros in zip(exponents, closed, strict=True)],
        cells,
    )


def _row(pool: Any, cost: str, source: str, axioms: Mapping[str, TransformAxiom], cells: Mapping[str, Cell]) -> Claims:
    return Claims(pool.name, pool.formula, cost, source, [pool], [axioms], cells)


_LINEAR = _row(
    LinearPool(),
    "O(K·V), one exponential a teacher and entry",
    "Stone (1961)",
    _axioms(moduli.linear, moduli.linear),
    {
        "A-D": Holds("a convex combination of distributions"),
        "A-P": Holds("q(i) ≥ max_k w_k·min_k p_k(i) > 0"),
        "A-M": Holds("KL is convex in q, q moves on a segment toward p_k, and is 0 at its end"),
        "A-C": Holds("TV(q, q′) ≤ TV(w, v)·max TV(p_j, p_k) + Σ v_k TV(p_k, p′_k) (T8)", "positive"),
        "A-C(0)": Holds("the same bound (T8)"),
        "A-T(a)": Broken(
            "(.9, .05, .05) and (.05, .9, .05) at w = ½, T = 4 give (.377, .377, .246) or (.389, .389, .222) by order",
            _ORDERS,
        ),
        "A-T(b)": _FLATTENS,
    },
)

_LOG = _row(
    LogarithmicPool(),
    "O(K·V), no normalizer a teacher",
    "Genest & Zidek (1986)",
    _axioms(moduli.logarithmic, moduli.linear),
    {
        "A-D": Holds("normalized; without a shared entry there is nothing to normalize, and q is NaN", "shared"),
        "A-P": Holds("a product of positive powers; a weight of zero is the factor 1"),
        "A-M": Holds("KL(p_k‖q) is a line and a convex function of the share, and 0 at its end", "shared"),
        "A-C": Holds("d_H(q, q′) ≤ TV(w, v)·max d_H(p_j, p_k) + Σ v_k d_H(p_k, p′_k)", "positive"),
        "A-C(0)": _VETO,
        "A-T(a)": Holds("both orders are ∝ Π p_k^(w_k/T): the normalizers cancel", "shared"),
        "A-T(b)": _FLATTENS,
    },
)

_MEAN = "a power mean of positive numbers; those of weight zero have no voice"
_COVARIANCE = "d/dt KL(p_k‖q) is a covariance of two oppositely ordered quantities (Chebyshev)"
_POWER_MODULUS = "d_H(q, q′) ≤ min(2·TV(w, v)·expm1(|ρ|D), d_H(w, v))/|ρ| + range of the change of log p"
_POWER_ORDERS = Broken(
    "(.9, .05, .05) and (.05, .9, .05) at w = ½, T = 4: means of exponents ρ/T and ρ differ, for every ρ ≠ 0", _ORDERS
)

_POWER_POSITIVE = _power(
    "power, ρ > 0",
    POSITIVE_EXPONENTS,
    {
        "A-D": Holds("normalized, and Z ≥ (max w)^(1/ρ) > 0"),
        "A-P": Holds(_MEAN),
        "A-M": Holds(_COVARIANCE),
        "A-C": Holds(_POWER_MODULUS, "positive"),
        "A-C(0)": Holds(
            "a Hölder bound, exponent min(ρ, 1) in p, min(1, 1/ρ) in w; its constant grows without end as ρ → 0"
        ),
        "A-T(a)": _POWER_ORDERS,
        "A-T(b)": _FLATTENS,
    },
)

_POWER_NEGATIVE = _power(
    "power, ρ < 0",
    NEGATIVE_EXPONENTS,
    {
        "A-D": Holds("normalized; without a shared entry there is nothing to normalize, and q is NaN", "shared"),
        "A-P": Holds(_MEAN),
        "A-M": Holds(_COVARIANCE, "shared"),
        "A-C": Holds(_POWER_MODULUS, "positive"),
        "A-C(0)": _VETO,
        "A-T(a)": _POWER_ORDERS,
        "A-T(b)": _FLATTENS,
    },
)

_ENTRYWISE = _row(
    EntrywiseLinearPool(),
    "O(K·V), and K·V weights",
    "framework, T10",
    _axioms(moduli.entrywise, moduli.entrywise_masses),
    {
        "A-D": Holds("renormalized by Z in [K·a, K·b]; where no weight meets any mass Z = 0 and q is NaN", "positive"),
        "A-P": Holds("Z·q(i) is a convex combination of the p_k(i)"),
        "A-M": Holds(_COVARIANCE + ", raised by one amount at every entry", "positive"),
        "A-C": Holds("TV(q, q′) ≤ Σ (|Δw|·p + v·|Δp|)/max(Z, Z′)", "positive"),
        "A-C(0)": Broken(
            "(1, 0) and (0, 1), Z = 1e-12: q is (1, 0) or (0, 1) by weights that differ by 1e-12, and none at Z = 0",
            PoolWitness(
                ((1.0, 0.0), (0.0, 1.0)),
                ((1e-12, 1 - 1e-12), (1.0, 0.0)),
                {"moved_w": ((0.0, 1.0), (1 - 1e-12, 1e-12))},
            ),
        ),
        "A-T(a)": Broken(
            "the linear pool's witness: equal weights at every entry make it that pool",
            PoolWitness(_TWO, (_HALVES, _HALVES, _HALVES), {"temperature": 4.0}),
        ),
        "A-T(b)": _FLATTENS,
    },
)

POOL_CLAIMS = ClaimsTable(
    "aggregators",
    {axiom.id: axiom.statement for axiom in POOL_AXIOMS.values()},
    (_LINEAR, _LOG, _POWER_POSITIVE, _POWER_NEGATIVE, _ENTRYWISE),
)
