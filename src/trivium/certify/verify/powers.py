"""Powers, and functions made of simpler ones."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from trivium.certify.verify import interval as iv
from trivium.certify.verify.bounds import OPERATIONS, Bounds, apply
from trivium.certify.verify.elementwise import needs, rising, scores_of, unary
from trivium.certify.verify.interval import ULPS, Interval, lower, upper
from trivium.certify.verify.lifting import lift
from trivium.certify.verify.trace import Trace, Unsupported


def softplus(trace: Trace, x: Any, beta: float = 1.0, threshold: float = 20.0) -> Bounds:
    """log(1 + e^{βx})/β, and x itself above the threshold, a jump of 2e-9 there."""
    x = lift(trace, x)
    if not isinstance(beta, int | float) or beta <= 0:
        raise Unsupported("softplus with this beta")
    if beta != 1.0:
        return lift(trace, apply("div", (apply("softplus", (apply("mul", (x, beta), {}),), {}), beta), {}))

    def function(z: Tensor) -> Tensor:
        return z.clamp(min=0.0) + torch.log1p(torch.exp(-z.abs()))

    low, high = rising(function, 0.0)(x.value)
    low = torch.where(x.hi > threshold, torch.minimum(low, x.lo.clamp_min(threshold)), low)

    def slope(box: Interval) -> Interval:
        steep = rising(torch.sigmoid, 0.0, 1.0)(box)
        jump, linear = (box[0] <= threshold) & (box[1] > threshold), box[0] > threshold
        return (
            torch.where(jump, -math.inf, torch.where(linear, 1.0, steep[0])),
            torch.where(jump, math.inf, torch.where(linear, 1.0, steep[1])),
        )

    return unary(x, (low, high), slope)


def rpow(trace: Trace, x: Any, base: Any) -> Bounds:
    """base ** x for a positive number."""
    if not isinstance(base, int | float) or base <= 0:
        raise Unsupported("a power of anything but a positive number")
    scaled = apply("mul", (lift(trace, x), _log_of_number(trace, base)), {})
    made: Bounds = apply("exp", (scaled,), {})
    return made


def _log_of_number(trace: Trace, number: float) -> Bounds:
    """log of a plain number, enclosed."""
    value = torch.full((1, 1), math.log(number), dtype=torch.float64)
    return Bounds(trace, (lower(value), upper(value)), lambda: None, None)


def power(trace: Trace, x: Any, exponent: Any) -> Bounds:
    """x ** p for a constant number p."""
    if isinstance(exponent, Tensor) and exponent.ndim == 0:
        exponent = float(exponent)
    if isinstance(x, int | float):
        return rpow(trace, exponent, x)
    if isinstance(exponent, bool) or not isinstance(exponent, int | float) or not math.isfinite(exponent):
        raise Unsupported("a power whose exponent is no constant number")
    x, p = lift(trace, x), float(exponent)
    if p < 0:
        made: Bounds = apply("reciprocal", (apply("pow", (x, -p), {}),), {})
        return made
    if p in (0.0, 1.0, 2.0, 0.5):
        if p == 0.0:
            return lift(trace, torch.ones(x.width) if x.axis else 1.0)
        simple: Bounds = apply({1.0: "clone", 2.0: "square", 0.5: "sqrt"}[p], (x,), {})
        return simple
    whole, even = p == round(p), p % 2 == 0
    if not whole:
        needs(x, 0.0, f"power {p:g}", strict=False)

    def ranged(box: Interval, q: float, even: bool) -> Interval:
        if even:
            return lower(iv.mignitude(box) ** q, ULPS).clamp_min(0.0), upper(iv.magnitude(box) ** q, ULPS)
        base = box if whole else (box[0].clamp(min=0.0), box[1].clamp(min=0.0))
        least = -math.inf if whole else 0.0
        if q < 0:  # a slope of x^p, 0 < p < 1
            return lower(base[1] ** q, ULPS).clamp_min(0.0), upper(base[0] ** q, ULPS)
        return lower(base[0] ** q, ULPS).clamp_min(least), upper(base[1] ** q, ULPS)

    def slope(box: Interval) -> Interval:
        factor = torch.full((1,), p, dtype=torch.float64)
        return iv.mul((factor, factor), ranged(box, p - 1, whole and not even))

    result = unary(x, ranged(x.value, p, whole and even), slope)
    result.scores = lambda: apply("mul", (scores_of(x), p), {})
    return result


OPERATIONS.update({"softplus": softplus, "pow": power, "rpow": rpow, "float_power": power})
OPERATIONS["rsqrt"] = lambda trace, x: apply("reciprocal", (apply("sqrt", (x,), {}),), {})
OPERATIONS["log2"] = lambda trace, x: apply("div", (apply("log", (x,), {}), _log_of_number(trace, 2.0)), {})
OPERATIONS["log10"] = lambda trace, x: apply("div", (apply("log", (x,), {}), _log_of_number(trace, 10.0)), {})
OPERATIONS["softsign"] = lambda trace, x: apply("div", (x, apply("add", (apply("abs", (x,), {}), 1.0), {})), {})
OPERATIONS["silu"] = lambda trace, x, inplace=False: apply("mul", (x, apply("sigmoid", (x,), {})), {})
