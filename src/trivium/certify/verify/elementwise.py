"""Functions of one number: exp, log, tanh, powers and the like.

Each is given by its range over an interval and the range of its slope there; the chain rule does the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trivium.certify.verify import interval as iv
from trivium.certify.verify.bounds import OPERATIONS, Bounds, apply
from trivium.certify.verify.interval import ULPS, Interval, lower, upper
from trivium.certify.verify.lifting import lift
from trivium.certify.verify.trace import UNDERFLOW, Trace, Unsupported

Range = Callable[[Interval], Interval]


def unary(x: Bounds, value: Interval, slope: Range) -> Bounds:
    """f(x) from the range of f and, over the sub-boxes, of its generalized derivative."""

    def slopes() -> Interval | None:
        inner = x.jacobian
        if inner is None:
            return None
        steep = slope(x.box)
        return iv.mul((steep[0].unsqueeze(-1), steep[1].unsqueeze(-1)), inner)

    return Bounds(x.trace, value, slopes, x.axis)


def rising(function: Callable[[Tensor], Tensor], least: float = -math.inf, most: float = math.inf) -> Range:
    """Range of an increasing function with values in [least, most]."""

    def value(x: Interval) -> Interval:
        return lower(function(x[0]), ULPS).clamp_min(least), upper(function(x[1]), ULPS).clamp_max(most)

    return value


def bump(function: Callable[[Tensor], Tensor]) -> Range:
    """Range of an even function ≥ 0 that falls away from zero."""

    def value(x: Interval) -> Interval:
        return lower(function(iv.magnitude(x)), ULPS).clamp_min(0.0), upper(function(iv.mignitude(x)), ULPS)

    return value


def step(x: Interval, below: float, above: float) -> Interval:
    """Slopes of a function that bends at zero: one, the other, or anything between."""
    low, high = min(below, above), max(below, above)
    undecided = (x[0] <= 0) & (x[1] >= 0)
    side = torch.where(x[0] > 0, above, below).to(torch.float64)
    return torch.where(undecided, low, side), torch.where(undecided, high, side)


def needs(x: Bounds, low: float, name: str, strict: bool) -> None:
    """Marks sub-boxes where an argument may leave its domain."""
    outside = x.box[0] <= low if strict else x.box[0] < low
    x.trace.mark(outside.any(dim=-1), f"{name} of a number that may be below {low:.3g}")


_exp = rising(torch.exp, 0.0)
_sigmoid_slope = bump(lambda x: torch.sigmoid(x) * torch.sigmoid(-x))
_tanh_slope = bump(lambda x: 4 * torch.sigmoid(2 * x) * torch.sigmoid(-2 * x))
_erf_slope = bump(lambda x: torch.exp(-x * x) * (2 / math.sqrt(math.pi)))


def _inverse_square(x: Interval) -> Interval:
    return iv.inverse(square_of((lower(x[0]), upper(x[1]))))


def square_of(x: Interval) -> Interval:
    """x²."""
    return lower(iv.mignitude(x) ** 2).clamp_min(0.0), upper(iv.magnitude(x) ** 2)


_SIMPLE: dict[str, tuple[Range, Range]] = {
    "exp": (_exp, _exp),
    "expm1": (rising(torch.expm1, -1.0), _exp),
    "sigmoid": (rising(torch.sigmoid, 0.0, 1.0), _sigmoid_slope),
    "tanh": (rising(torch.tanh, -1.0, 1.0), _tanh_slope),
    "erf": (rising(torch.erf, -1.0, 1.0), _erf_slope),
    "atan": (rising(torch.atan), lambda x: iv.inverse(iv.add(square_of(x), (torch.ones(1), torch.ones(1))))),
    "relu": (lambda x: (x[0].clamp(min=0.0), x[1].clamp(min=0.0)), lambda x: step(x, 0.0, 1.0)),
    "abs": (lambda x: (iv.mignitude(x), iv.magnitude(x)), lambda x: step(x, -1.0, 1.0)),
    "square": (square_of, lambda x: (lower(2 * x[0]), upper(2 * x[1]))),
    "sin": (lambda x: _wave(x, 0.0), lambda x: _wave(x, math.pi / 2)),
    "cos": (lambda x: _wave(x, math.pi / 2), lambda x: iv.neg(_wave(x, 0.0))),
}


def _wave(x: Interval, phase: float) -> Interval:
    """Range of sin(x + phase): ±1 where a crest or trough may lie inside, else that of the ends."""
    ends = [torch.sin(bound.clamp(-1e9, 1e9) + phase) for bound in x]
    slack = 1e-15 * (iv.magnitude(x) + 4)  # of the phase and of where the crests are

    def inside(offset: float) -> Tensor:
        turn = 2 * math.pi
        after = torch.floor((x[1] + slack + phase - offset) / turn)
        return (after > torch.floor((x[0] - slack + phase - offset) / turn)) | ~(slack < 1e-6)

    low = torch.minimum(*ends) - 2 * slack
    high = torch.maximum(*ends) + 2 * slack
    low = torch.where(inside(-math.pi / 2), -1.0, low.clamp_min(-1.0))
    return low, torch.where(inside(math.pi / 2), 1.0, high.clamp_max(1.0))


def _register(name: str, value: Range, slope: Range) -> None:
    def operation(trace: Trace, x: Any, **options: Any) -> Bounds:
        if any(options.values()):
            raise Unsupported(f"{name} with {', '.join(options)}")
        entry = lift(trace, x)
        if name == "exp" and entry.exponential is not None:
            return entry.exponential()
        made = unary(entry, value(entry.value), slope)
        if name == "exp":
            made.scores = made.logarithm = lambda: entry
        return made

    OPERATIONS[name] = operation


for _name, (_value, _slope) in _SIMPLE.items():
    _register(_name, _value, _slope)


def log_of(x: Bounds) -> Bounds:
    """log x without a mark: where x may vanish it is unbounded below, and where it may be negative above too."""
    if x.logarithm is not None:
        return x.logarithm()
    value = (
        torch.where(x.lo > 0, lower(torch.log(x.lo), ULPS), -math.inf),
        torch.where(x.lo >= 0, upper(torch.log(x.hi), ULPS), math.inf),
    )

    def slope(box: Interval) -> Interval:
        positive = box[0] > 0
        low, high = iv.inverse(box)
        return torch.where(positive, low, -math.inf), torch.where(positive, high, math.inf)

    return unary(x, value, slope)


def scores_of(x: Bounds) -> Bounds:
    """Bounds s with log x_m = s_m + a term common to the row, valid where x > 0."""
    scores = x.scores() if x.scores is not None else log_of(x)
    return scores.core


def log(trace: Trace, x: Any) -> Bounds:
    """log x, for x that a float32 can hold as a normal number."""
    x = lift(trace, x)
    needs(x, UNDERFLOW, "log", strict=False)
    made = log_of(x)
    if x.scores is not None:
        made.modulo = scores_of(x)
    return made


def log1p(trace: Trace, x: Any) -> Bounds:
    """log(1 + x)."""
    x = lift(trace, x)
    needs(x, -1.0, "log1p", strict=True)
    one = torch.ones(1, dtype=torch.float64)
    return unary(x, rising(torch.log1p)(x.value), lambda box: iv.inverse(iv.add(box, (one, one))))


def sqrt(trace: Trace, x: Any) -> Bounds:
    """√x; its slope at zero is infinite."""
    x = lift(trace, x)
    needs(x, 0.0, "sqrt", strict=False)

    def root(box: Interval) -> Interval:
        return lower(box[0].clamp(min=0.0).sqrt()).clamp_min(0.0), upper(box[1].clamp(min=0.0).sqrt())

    def slope(box: Interval) -> Interval:
        low, high = root(box)
        return lower(0.5 / high).clamp_min(0.0), torch.where(low > 0, upper(0.5 / low), math.inf)

    made = unary(x, root(x.value), slope)
    made.scores = lambda: apply("mul", (scores_of(x), 0.5), {})
    return made


def reciprocal(trace: Trace, x: Any) -> Bounds:
    """1/x."""
    x = lift(trace, x)
    small = (iv.mignitude(x.box) < UNDERFLOW).any(dim=-1)
    trace.mark(small, "a division by a number that may be zero")
    made = unary(x, iv.inverse(x.value), lambda box: iv.neg(_inverse_square(box)))
    made.scores = lambda: apply("neg", (scores_of(x),), {})
    return made


OPERATIONS.update({"log": log, "log1p": log1p, "sqrt": sqrt, "reciprocal": reciprocal})
