"""Sums of the entries of a row, kept exactly: why λ·softmax(s) + (1 − λ)/K sums to one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

EPS = 2.0**-52


@dataclass(frozen=True)
class Total:
    """constant + Σ_i coefficients[i]·x_i, where x_i is a quantity of the program known by its number.

    It holds of the real numbers, and of those that the graph computes up to ``sum_error``. ``error`` bounds what
    rounding in float64 did to the constant here; each coefficient may be off by ``errors[i]``.
    """

    constant: float
    coefficients: Mapping[int, float] = field(default_factory=dict)
    error: float = 0.0
    errors: Mapping[int, float] = field(default_factory=dict)
    sum_error: float = 0.0

    @classmethod
    def number_of(cls, values: list[float]) -> Total:
        """Return the sum of plain numbers; ``fsum`` rounds once."""
        total = math.fsum(values)
        return cls(total, error=abs(total) * EPS)

    @classmethod
    def between(cls, low: list[float], high: list[float]) -> Total:
        """Return the sum of numbers known to lie between bounds."""
        total, spread = math.fsum(low), math.fsum(b - a for a, b in zip(low, high, strict=True))
        return cls(total, error=(spread + abs(total) * EPS) * (1 + 4 * EPS) if spread else abs(total) * EPS)

    @classmethod
    def symbol(cls, number: int) -> Total:
        """Return one quantity."""
        return cls(0.0, {number: 1.0}, 0.0, {number: 0.0})

    @classmethod
    def either(cls, one: Total, other: Total) -> Total:
        """Return one of two plain numbers."""
        error = max(one.error, abs(one.constant - other.constant) * (1 + EPS) + other.error)
        return cls(one.constant, error=error, sum_error=max(one.sum_error, other.sum_error))

    @property
    def exact(self) -> bool:
        """Whether it is a plain number."""
        return not self.coefficients

    def __add__(self, other: Total) -> Total:
        total = self.constant + other.constant
        names = {*self.coefficients, *other.coefficients}
        sums = {n: self.coefficients.get(n, 0.0) + other.coefficients.get(n, 0.0) for n in names}
        errors = {n: self.errors.get(n, 0.0) + other.errors.get(n, 0.0) + abs(sums[n]) * EPS for n in names}
        error = self.error + other.error + abs(total) * EPS
        return Total(total, sums, error, errors, (self.sum_error + other.sum_error) * (1 + EPS))

    def scaled(self, factor: Total, moved: float = 0.0) -> Total:
        """Times a plain number; ``moved`` is what that number's own rounding adds to the computed sum."""
        c = factor.constant
        product = self.constant * c
        error = self.error * (abs(c) + factor.error) + factor.error * abs(self.constant) + abs(product) * EPS
        coefficients = {n: a * c for n, a in self.coefficients.items()}
        errors = {
            n: self.errors[n] * (abs(c) + factor.error) + factor.error * abs(a) + abs(a * c) * EPS
            for n, a in self.coefficients.items()
        }
        sum_error = self.sum_error * (abs(c) + factor.sum_error) + moved
        return Total(product, coefficients, error, errors, sum_error * (1 + 4 * EPS))

    def rounded(self, more: float) -> Total:
        """With another rounding of the computed sum."""
        return replace(self, sum_error=(self.sum_error + more) * (1 + EPS))

    def distance(self, target: float, magnitudes: Mapping[int, float]) -> float:
        """Return an upper bound of |self − target| for quantities of at most these magnitudes."""
        moving = sum(
            (abs(a) + self.errors[n]) * magnitudes[n] for n, a in self.coefficients.items() if a or self.errors[n]
        )
        return (abs(self.constant - target) + self.error + moving) * (1 + 64 * EPS)
