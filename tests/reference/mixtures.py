"""The likelihood of squashed, multiplied, bounded scores, row by row in NumPy, and what SciPy makes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import brentq, minimize


def squashed(scores: Sequence[float], budget: float) -> list[float]:
    top = max(scores)
    return [budget * math.tanh((score - top) / budget) for score in scores]


def bounded(log_w: np.ndarray, floor: float, cap: float) -> np.ndarray:
    """argmin KL(y‖w) with floor ≤ y ≤ cap: y = clip(c·w), c by bisection."""
    w = np.exp(log_w - log_w.max())
    w /= w.sum()
    if w.min() >= floor and w.max() <= cap:
        return np.log(w)

    def excess(log_c: float) -> float:
        return float(np.clip(w * math.exp(log_c), floor, cap).sum() - 1)

    c = brentq(excess, -60, 60, xtol=1e-14)
    return np.log(np.clip(w * math.exp(c), floor, cap))


def log_likelihood(
    scales: Sequence[tuple[np.ndarray, float]], log_p: np.ndarray, floor: float = 0.0, cap: float = 1.0
) -> float:
    """Mean log Σ_k w_k p_k of scores [N, K] with a budget at each scale."""
    total = 0.0
    for row in range(len(log_p)):
        scores = sum(np.array(squashed(found[row], budget)) for found, budget in scales)
        joint = bounded(scores, floor, cap) + log_p[row]
        total += joint.max() + math.log(np.exp(joint - joint.max()).sum())
    return total / len(log_p)


def best_of(objective: Callable[[np.ndarray], tuple[float, np.ndarray]], size: int, starts: int, seed: int) -> float:
    """The largest value that BFGS reaches from random starts, of an objective with its slope."""
    draw, best = np.random.default_rng(seed), -math.inf
    for number in range(starts):
        begin = draw.normal(size=size) * (0.1, 1.0, 3.0)[number % 3]
        found = minimize(
            lambda x: tuple(-part for part in objective(x)), begin, jac=True, method="BFGS", options={"maxiter": 300}
        )
        best = max(best, -float(found.fun))
    return best


def best_constant(log_p: np.ndarray, starts: int, seed: int) -> float:
    """The largest mean log Σ_k w_k p_k over the simplex that SLSQP finds."""
    p = np.exp(log_p)
    draw, best = np.random.default_rng(seed), -math.inf
    for _ in range(starts):
        found = minimize(
            lambda w: -float(np.log(p @ w).mean()),
            draw.dirichlet(np.ones(p.shape[1])),
            bounds=[(0, 1)] * p.shape[1],
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        w = np.clip(found.x, 0, 1)
        best = max(best, float(np.log(p @ (w / w.sum())).mean()))
    return best
