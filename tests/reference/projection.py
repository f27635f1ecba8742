"""The conforming projection by a general convex solver. Imports nothing of the package."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise

import cvxpy as cp
import numpy as np


def nearest_conforming(
    w: Sequence[float],
    floor: float = 0.0,
    cap: float = 1.0,
    tiers: Sequence[Sequence[int]] = (),
    margin: float = 0.0,
) -> np.ndarray:
    """argmin KL(y‖w) subject to Σ y = 1, floor ≤ y ≤ cap and y_j ≥ e^margin·y_k between neighbouring tiers."""
    y = cp.Variable(len(w))
    constraints = [cp.sum(y) == 1, y >= floor, y <= cap]
    for safer, less in pairwise(tiers):
        constraints += [y[j] >= np.exp(margin) * y[k] for j in safer for k in less]
    problem = cp.Problem(cp.Minimize(cp.sum(cp.rel_entr(y, np.asarray(w)))), constraints)
    with warnings.catch_warnings():
        # Near a single feasible point the solver doubts itself; the caller compares within its own tolerance.
        warnings.filterwarnings("ignore", message="Solution may be inaccurate")
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    return np.asarray(y.value)


def objective(y: np.ndarray, w: Sequence[float]) -> float:
    """KL(y‖w) by its definition, 0·log 0 = 0."""
    return float(sum(a * np.log(a / b) for a, b in zip(y, w, strict=True) if a > 0))


def isotonic_by_quadratic_program(x: Sequence[float], weights: Sequence[float]) -> np.ndarray:
    """argmin Σ ω (v − x)² subject to v ascending."""
    v = cp.Variable(len(x))
    loss = cp.sum(cp.multiply(np.asarray(weights), cp.square(v - np.asarray(x))))
    cp.Problem(cp.Minimize(loss), [cp.diff(v) >= 0] if len(x) > 1 else []).solve(solver=cp.CLARABEL)
    return np.asarray(v.value)
