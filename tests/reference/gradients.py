"""Mean logit gradients, their inner products and least-norm weights, by loops and a solver. Imports no trivium."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import cvxpy as cp
import numpy as np

Rows = Sequence[Sequence[float]]


def softmax(z: Sequence[float]) -> list[float]:
    """exp(z_i)/Σ exp, in Python floats."""
    top = max(z)
    e = [math.exp(value - top) for value in z]
    return [value / math.fsum(e) for value in e]


def mean_gradients(student: Rows, teachers: Sequence[Rows], mask: Sequence[bool]) -> list[list[float]]:
    """ḡ_k(i) = mean over the positions that count of s(i) − p_k(i): K lists of V numbers."""
    places = [n for n, counts in enumerate(mask) if counts]
    width = len(student[0])
    found = []
    for teacher in teachers:
        pairs = [(softmax(student[n]), softmax(teacher[n])) for n in places]
        found.append([math.fsum(s[i] - p[i] for s, p in pairs) / max(1, len(places)) for i in range(width)])
    return found


def gram(rows: Rows) -> list[list[float]]:
    """⟨g_j, g_k⟩."""
    return [[math.fsum(x * y for x, y in zip(a, b, strict=True)) for b in rows] for a in rows]


def least_norm(gradients: np.ndarray, cap: float = 1.0) -> tuple[np.ndarray, float]:
    """argmin ‖Σ α_k g_k‖² over Σ α = 1, 0 ≤ α ≤ cap for gradients [K, P], and the minimum."""
    alpha = cp.Variable(len(gradients))
    objective = cp.Minimize(cp.sum_squares(gradients.T @ alpha))
    problem = cp.Problem(objective, [cp.sum(alpha) == 1, alpha >= 0, alpha <= cap])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Solution may be inaccurate")
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return np.asarray(alpha.value), float(problem.value)


def dual_cone(gradients: np.ndarray, start: Sequence[float]) -> np.ndarray:
    """argmin ‖Σ v_k g_k‖² over v ≥ start: the weights of the projection of Σ start_k g_k on {d : ⟨g_k, d⟩ ≥ 0}."""
    v = cp.Variable(len(gradients))
    problem = cp.Problem(cp.Minimize(cp.sum_squares(gradients.T @ v)), [v >= np.asarray(start)])
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return np.asarray(v.value)


def bargain(gradients: np.ndarray) -> np.ndarray:
    """argmax Σ_k log⟨g_k, d⟩ over ‖d‖ ≤ 1: Nash's bargaining step itself, from gradients [K, P] and no weights."""
    d = cp.Variable(gradients.shape[1])
    problem = cp.Problem(cp.Maximize(cp.sum(cp.log(gradients @ d))), [cp.norm(d) <= 1])
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
    return np.asarray(d.value)
