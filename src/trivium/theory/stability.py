"""T4: regularity constants add under the product, and Hilbert's metric bounds total variation by tanh(d/4)."""

from __future__ import annotations

import math
from typing import Any

import torch

from trivium.simplex.geometry import hilbert, log_normalize, total_variation, tv_of_hilbert
from trivium.theory.rows import Report, TheoremRow
from trivium.theory.smt import TEACHERS, Statement, proved, proved_once, solver

_ARGUMENT = (
    "log(u ⊕ v) is log u + log v up to a constant, and d_H(w, w′) is a seminorm of log w − log w′, so "
    "d_H(u ⊕ v, u′ ⊕ v′) ≤ d_H(u, u′) + d_H(v, v′) ≤ (L(u) + L(v))·d: the triangle inequality, which SMT checks a pair "
    "of teachers at a time.",
    "For d_H(u, v) ≤ d put r = e^{d/2}: u_j·v_k ≤ r²·v_j·u_k for all j, k. TV is p − q with p = Σ_A u, q = Σ_A v, A "
    "the teachers with u > v. Summing over j in A, k outside: p·(1−q) ≤ r²·q·(1−p) (SMT, for each size of A).",
    "By SMT that gives p − q ≤ (r−1)/(r+1), which is tanh(d/4).",
)
_TRIALS = 20_000


def examine() -> Report:
    """T4, its proofs and instances."""
    pair = "SMT, any two teachers, so every K"
    rows = (
        proved_once("Regularity adds: L(u ⊕ v) ≤ L(u) + L(v) in d_H", _triangle(), f"{pair}; seminorm on paper"),
        _adds_attained(),
        proved("Log ratios of at most d on teachers give odds of at most e^d on sets of teachers", TEACHERS, _odds),
        proved_once("… and those give TV(w, w′) ≤ tanh(d_H(w, w′)/4)", _tanh(), "SMT, with r = e^{d/2}"),
        _tanh_attained(),
        _tanh_sampled(),
    )
    return Report("T4", "Regularity adds under the product, and TV ≤ tanh(d_H/4)", rows, _ARGUMENT)


def _triangle() -> Statement:
    """Ratios between two inputs: (u_j/u_k)/(u′_j/u′_k) ≤ r and the same of v by s give r·s for the products."""
    z3 = solver()
    names = "u_j u_k x_j x_k v_j v_k y_j y_k r s"
    u_j, u_k, x_j, x_k, v_j, v_k, y_j, y_k, r, s = z3.Reals(names)
    positive = [z3.Real(name) > 0 for name in names.split()]
    premises = [*positive, u_j * x_k <= r * x_j * u_k, v_j * y_k <= s * y_j * v_k]
    return premises, (u_j * x_k) * (v_j * y_k) <= (r * x_j * u_k) * (s * y_j * v_k)


def _odds(num_teachers: int) -> Statement:
    """For each split into a first part A of 1…K−1 teachers; any other A of that size is a renaming."""
    z3 = solver()
    u, v, r2 = z3.RealVector("u", num_teachers), z3.RealVector("v", num_teachers), z3.Real("r2")
    premises: list[Any] = [z3.Sum(u) == 1, z3.Sum(v) == 1, r2 >= 1, *(x > 0 for x in (*u, *v))]
    conclusions = []
    for size in range(1, num_teachers):
        inside, outside = range(size), range(size, num_teachers)
        pairs = [(j, k) for j in inside for k in outside]
        whole = z3.Sum([u[j] * v[k] for j, k in pairs]) <= z3.Sum([r2 * v[j] * u[k] for j, k in pairs])
        conclusions.append(z3.Implies(z3.And([u[j] * v[k] <= r2 * v[j] * u[k] for j, k in pairs]), whole))
    return premises, z3.And(conclusions)


def _tanh() -> Statement:
    p, q, r = solver().Reals("p q r")
    premises = [r >= 1, q > 0, q <= p, p < 1, p * (1 - q) <= r * r * q * (1 - p)]
    return premises, (p - q) * (r + 1) <= r - 1


def _adds_attained() -> TheoremRow:
    """Two scales softmax(x, −x), each L = 2 in |x|: the product moves by their sum."""
    step = torch.tensor([0.25, -0.25], dtype=torch.float64)
    here, there = torch.zeros(2, dtype=torch.float64), step
    one = float(hilbert(log_normalize(here), log_normalize(there)))
    both = float(hilbert(log_normalize(2 * here), log_normalize(2 * there)))
    return TheoremRow(
        "… with equality",
        "ATTAINED",
        "softmax(x, −x) ⊕ softmax(x, −x), x from 0 to ¼",
        f"each moves by {one:.4f} nats, the product by {both:.4f}",
        math.isclose(both, 2 * one, rel_tol=1e-12),
        {"one": one, "both": both},
    )


def _tanh_attained() -> TheoremRow:
    distances = [0.1, 1.0, 4.0, 12.0]
    ratios = []
    for distance in distances:
        u = log_normalize(torch.tensor([distance / 4, -distance / 4], dtype=torch.float64))
        ratios.append(float(total_variation(u, u.flip(0))) / tv_of_hilbert(float(hilbert(u, u.flip(0)))))
    return TheoremRow(
        "… with equality",
        "ATTAINED",
        "(σ(d/2), σ(−d/2)) against its mirror image, d = 0.1, 1, 4, 12",
        f"TV = tanh(d/4) in all: {', '.join(f'{tv_of_hilbert(d):.4f}' for d in distances)}",
        all(abs(ratio - 1) < 1e-12 for ratio in ratios),
        {f"ratio_{d:g}": ratio for d, ratio in zip(distances, ratios, strict=True)},
    )


def _tanh_sampled() -> TheoremRow:
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for num_teachers in (2, 3, 5, 8):
        spread = 10 ** (4 * torch.rand(_TRIALS, 1, generator=generator, dtype=torch.float64) - 3)
        u, v = (
            log_normalize(spread * torch.randn(_TRIALS, num_teachers, generator=generator, dtype=torch.float64))
            for _ in range(2)
        )
        worst = max(worst, float((total_variation(u, v) / tv_of_hilbert(hilbert(u, v))).max()))
    return TheoremRow(
        "… and random pairs never exceed it",
        "CHECKED",
        f"{4 * _TRIALS:,} pairs, K = 2, 3, 5, 8, scores of spread 0.001 to 10",
        "ratio to the bound at most 1",
        worst <= 1 + 1e-9,
        {"worst_ratio": worst},
    )
