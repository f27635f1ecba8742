"""Divergences and distances of two distributions in Python floats, with compensated sums and 0·anything = 0."""

from __future__ import annotations

import math
from collections.abc import Sequence

Row = Sequence[float]


def kl(a: Row, b: Row) -> float:
    """Σ a_i log(a_i/b_i) over a_i > 0; infinite where b lacks an entry of a."""
    if any(x > 0 and y == 0 for x, y in zip(a, b, strict=True)):
        return math.inf
    return math.fsum(x * (math.log(x) - math.log(y)) for x, y in zip(a, b, strict=True) if x > 0)


def jensen_shannon(a: Row, b: Row) -> float:
    """½ KL(a‖m) + ½ KL(b‖m), m = ½(a + b)."""
    m = [(x + y) / 2 for x, y in zip(a, b, strict=True)]
    return (kl(a, m) + kl(b, m)) / 2


def total_variation(a: Row, b: Row) -> float:
    """½ Σ abs(a_i − b_i)."""
    return math.fsum(abs(x - y) for x, y in zip(a, b, strict=True)) / 2


def hellinger(a: Row, b: Row) -> float:
    """sqrt(½ Σ (√a_i − √b_i)²)."""
    return math.sqrt(math.fsum((math.sqrt(x) - math.sqrt(y)) ** 2 for x, y in zip(a, b, strict=True)) / 2)


def entropy(a: Row) -> float:
    """−Σ a_i log a_i over a_i > 0."""
    return -math.fsum(x * math.log(x) for x in a if x > 0)


def gradient(divergence: str, q: Row, s: Row) -> list[float]:
    """∂D/∂u of s = softmax(u), through the softmax's Jacobian: s_i (d_i − Σ_j s_j d_j) with d = ∂D/∂s. q, s > 0."""
    if divergence == "forward_kl":
        slope = [-x / y for x, y in zip(q, s, strict=True)]
    elif divergence == "reverse_kl":
        slope = [math.log(y / x) + 1.0 for x, y in zip(q, s, strict=True)]
    else:
        slope = [0.5 * math.log(2.0 * y / (x + y)) for x, y in zip(q, s, strict=True)]
    mean = math.fsum(y * d for y, d in zip(s, slope, strict=True))
    return [y * (d - mean) for y, d in zip(s, slope, strict=True)]
