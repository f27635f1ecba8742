"""Distances between distributions by loops and scipy. Imports nothing of the package."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import rel_entr


def hilbert_by_loops(u: Sequence[float], v: Sequence[float]) -> float:
    """max over pairs (j, k) of log(u_j v_k / (u_k v_j)), over the common support; inf where supports differ."""
    if any((a == 0) != (b == 0) for a, b in zip(u, v, strict=True)):
        return math.inf
    pairs = [(a, b) for a, b in zip(u, v, strict=True) if a > 0]
    return max((math.log(a / b) - math.log(c / d) for a, b in pairs for c, d in pairs), default=0.0)


def kl_by_scipy(p: Sequence[float], q: Sequence[float]) -> float:
    """Σ p log(p/q) with scipy's conventions at zero."""
    return float(sum(rel_entr(p, q)))


def total_variation_by_events(u: Sequence[float], v: Sequence[float]) -> float:
    """sup over events A of u(A) − v(A), which the event {u > v} attains."""
    return sum(a - b for a, b in zip(u, v, strict=True) if a > b)
