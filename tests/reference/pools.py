"""Pools entry by entry in Python floats, with compensated sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal, localcontext

Row = Sequence[float]


def linear(p: Sequence[Row], w: Row) -> list[float]:
    """Σ_k w_k p_k(i)."""
    return [math.fsum(weight * row[i] for weight, row in zip(w, p, strict=True)) for i in range(len(p[0]))]


def logarithmic(p: Sequence[Row], w: Row) -> list[float]:
    """Π_k p_k(i)^{w_k}, normalized; p^0 = 1."""
    products = [math.prod(row[i] ** weight for weight, row in zip(w, p, strict=True)) for i in range(len(p[0]))]
    total = math.fsum(products)
    return [product / total for product in products]


def entrywise(p: Sequence[Row], w: Sequence[Row]) -> tuple[list[float], float]:
    """Σ_k w[i][k]·p[k][i] over its sum Z, and Z."""
    masses = [math.fsum(w[i][k] * row[i] for k, row in enumerate(p)) for i in range(len(p[0]))]
    total = math.fsum(masses)
    return [mass / total for mass in masses], total


def power(p: Sequence[Row], w: Row, exponent: float) -> list[float]:
    """(Σ_k w_k p_k(i)^ρ)^{1/ρ}, normalized: w = 0 is no voice; 0^ρ is 0, or ∞ for ρ < 0."""
    logs = power_of_logs([[_log(value) for value in row] for row in p], [_log(weight) for weight in w], exponent)
    return [math.exp(value) for value in logs]


def power_of_logs(log_p: Sequence[Row], log_w: Row, exponent: float) -> list[float]:
    """log of :func:`power` from logarithms, in 60 decimal digits."""
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 60, -(10**15), 10**15
        rho = Decimal(exponent)
        heard = [(Decimal(weight), row) for weight, row in zip(log_w, log_p, strict=True) if weight > -math.inf]
        means: list[Decimal | None] = []
        for i in range(len(log_p[0])):
            present = [(weight, Decimal(row[i])) for weight, row in heard if row[i] > -math.inf]
            if not present or (rho < 0 and len(present) < len(heard)):
                means.append(None)
                continue
            means.append(sum((weight + rho * value).exp() for weight, value in present).ln() / rho)
        log_total = sum(mean.exp() for mean in means if mean is not None).ln()
        return [-math.inf if mean is None else float(mean - log_total) for mean in means]


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


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
