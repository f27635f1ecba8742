"""Pools entry by entry in Python floats, with compensated sums."""

from __future__ import annotations

import math
from collections.abc import Sequence

Row = Sequence[float]


def linear(p: Sequence[Row], w: Row) -> list[float]:
    """Σ_k w_k p_k(i)."""
    return [math.fsum(weight * row[i] for weight, row in zip(w, p, strict=True)) for i in range(len(p[0]))]


def logarithmic(p: Sequence[Row], w: Row) -> list[float]:
    """Π_k p_k(i)^{w_k}, normalized; p^0 = 1."""
    products = [math.prod(row[i] ** weight for weight, row in zip(w, p, strict=True)) for i in range(len(p[0]))]
    total = math.fsum(products)
    return [product / total for product in products]


def softmax(z: Row, temperature: float = 1.0) -> list[float]:
    """e^{z_i/T} / Σ_j e^{z_j/T}; z may hold −inf."""
    top = max(z)
    exponentials = [math.exp((value - top) / temperature) for value in z]
    total = math.fsum(exponentials)
    return [value / total for value in exponentials]


def soften(p: Row, temperature: float) -> list[float]:
    """p^{1/T}, normalized."""
    powers = [value ** (1.0 / temperature) for value in p]
    total = math.fsum(powers)
    return [value / total for value in powers]
