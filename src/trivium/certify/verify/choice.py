"""Choice between quantities of one row: maximum, clamp, comparisons, where."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from trivium.certify.verify import interval as iv
from trivium.certify.verify.arithmetic import multiply, subtract
from trivium.certify.verify.bounds import OPERATIONS, Bounds
from trivium.certify.verify.form import Form
from trivium.certify.verify.interval import Interval
from trivium.certify.verify.lifting import aligned, lift
from trivium.certify.verify.trace import Trace, Unsupported


def _pick(x: Bounds, y: Bounds, first: Tensor, second: Tensor) -> Interval | None:
    """Slopes of whichever of two is chosen, [N, M] bool each; of both where neither is decided."""
    jx, jy = x.jacobian, y.jacobian
    if jx is None and jy is None:
        return None
    zero = torch.zeros(1, 1, x.trace.columns, dtype=torch.float64)
    jx, jy = jx or (zero, zero), jy or (zero, zero)
    both = iv.hull(jx, jy)
    a, b = first.unsqueeze(-1), second.unsqueeze(-1)
    low = torch.where(a, jx[0], torch.where(b, jy[0], both[0]))
    high = torch.where(a, jx[1], torch.where(b, jy[1], both[1]))
    return low, high


def _extreme(x: Bounds, y: Bounds, largest: bool) -> Bounds:
    pick = torch.maximum if largest else torch.minimum
    value = pick(x.lo, y.lo), pick(x.hi, y.hi)

    def slopes() -> Interval | None:
        (xl, xh), (yl, yh) = x.box, y.box
        above, below = xl > yh, xh < yl
        return _pick(x, y, above if largest else below, below if largest else above)

    made = Bounds(x.trace, value, slopes, aligned(x, y))
    _limit(made, x, y, largest)
    return made


def _limit(made: Bounds, x: Bounds, y: Bounds, largest: bool) -> None:
    """max(x, max x − B), or max(x − max x, −B), and the like with min: monotone and commuting with shifts (T6)."""
    for one, other in ((x, y), (y, x)):
        if other.offset is not None and other.offset[0].extreme == (one.number, largest):
            top, budget = other.offset
            made.modulo = _extreme(subtract(one.trace, one, top), budget, largest)
        elif one.lead is not None and other.constant and other.width == 1:
            made.limited = one.lead


def maximum(trace: Trace, x: Any, y: Any) -> Bounds:
    """max(x, y)."""
    return _extreme(lift(trace, x), lift(trace, y), True)


def minimum(trace: Trace, x: Any, y: Any) -> Bounds:
    """min(x, y)."""
    return _extreme(lift(trace, x), lift(trace, y), False)


def clamp(trace: Trace, x: Any, min: Any = None, max: Any = None) -> Bounds:
    """min(max(x, low), high)."""
    x = lift(trace, x)
    x = x if min is None else maximum(trace, x, min)
    return x if max is None else minimum(trace, x, max)


def _compared(trace: Trace, x: Any, y: Any, strict: bool) -> Bounds:
    """x > y or x ≥ y as 0, 1 or undecided; undecided, it may jump along every feature that it depends on."""
    x, y = lift(trace, x), lift(trace, y)
    true = x.lo > y.hi if strict else x.lo >= y.hi
    false = x.hi <= y.lo if strict else x.hi < y.lo
    value = true.double(), (~false).double()

    def slopes() -> Interval | None:
        decided = value[0] == value[1]
        n = trace.count
        return unknown((x, y), ~(decided if len(decided) == 1 else decided[:n]))

    made = Bounds(trace, value, slopes, aligned(x, y))
    made.boolean = True
    return made


def unknown(parts: tuple[Bounds, ...], rows: Tensor) -> Interval | None:
    """Slopes of a jump: anything, in the features that ``parts`` depend on, where ``rows`` [N, M] holds; else zero."""
    slopes = [part.jacobian for part in parts if part.jacobian is not None]
    if not slopes:
        return None
    depends = ~((slopes[0][0] == 0) & (slopes[0][1] == 0))
    for low, high in slopes[1:]:
        depends = depends | ~((low == 0) & (high == 0))
    jump = torch.where(rows.unsqueeze(-1) & depends, math.inf, 0.0).to(torch.float64)
    jump[..., -1] = 0.0  # which side rounding falls on is within the bounds, as long as both sides are
    return -jump, jump


def where(trace: Trace, condition: Any, one: Any, other: Any) -> Bounds:
    """One where the condition holds, else the other; both where it is undecided, with a jump between them."""
    condition, x, y = lift(trace, condition), lift(trace, one), lift(trace, other)
    if not condition.boolean:
        raise Unsupported("where() on something that is no comparison")
    if x is y:
        return x
    true, false = condition.lo == 1, condition.hi == 0
    low = torch.where(true, x.lo, torch.where(false, y.lo, torch.minimum(x.lo, y.lo)))
    high = torch.where(true, x.hi, torch.where(false, y.hi, torch.maximum(x.hi, y.hi)))

    def slopes() -> Interval | None:
        n = trace.count
        t, f = (part if len(part) == 1 else part[:n] for part in (true, false))
        chosen, jump = _pick(x, y, t, f), unknown((condition, x, y), ~(t | f))
        if chosen is None or jump is None or condition.constant:
            return jump if chosen is None else chosen
        return torch.minimum(chosen[0], jump[0]), torch.maximum(chosen[1], jump[1])

    made = Bounds(trace, (low, high), slopes, aligned(condition, x, y))
    totals = [part.form if part.constant else part.total for part in (x, y)]
    if condition.width == 1 and x.width == y.width and all(part is not None and part.exact for part in totals):
        made.total = Form.either(*(part for part in totals if part is not None))
    return made


def _logical(name: str) -> Any:
    def operation(trace: Trace, x: Any, y: Any) -> Bounds:
        x, y = lift(trace, x), lift(trace, y)
        if not (x.boolean and y.boolean):
            raise Unsupported(f"{name} of something that is no comparison")
        made = _extreme(x, y, name == "logical_or")
        made.boolean = True
        return made

    return operation


def logical_not(trace: Trace, x: Any) -> Bounds:
    """1 − x of a comparison."""
    if not lift(trace, x).boolean:
        raise Unsupported("logical_not of something that is no comparison")
    made = Bounds(trace, (1 - x.hi, 1 - x.lo), lambda: None if x.jacobian is None else iv.neg(x.jacobian), x.axis)
    made.boolean = True
    return made


def _leaky(trace: Trace, x: Any, slope: float) -> Bounds:
    if not 0 <= slope <= 1:
        raise Unsupported("leaky_relu with this slope")
    return maximum(trace, x, multiply(trace, x, slope))


OPERATIONS.update(
    {
        "maximum": maximum,
        "minimum": minimum,
        "clamp": clamp,
        "clamp_min": lambda trace, x, min: clamp(trace, x, min=min),
        "clamp_max": lambda trace, x, max: clamp(trace, x, max=max),
        "hardtanh": lambda trace, x, min_val=-1.0, max_val=1.0, inplace=False: clamp(trace, x, min_val, max_val),
        "leaky_relu": lambda trace, x, negative_slope=0.01, inplace=False: _leaky(trace, x, negative_slope),
        "gt": lambda trace, x, y: _compared(trace, x, y, True),
        "ge": lambda trace, x, y: _compared(trace, x, y, False),
        "lt": lambda trace, x, y: _compared(trace, y, x, True),
        "le": lambda trace, x, y: _compared(trace, y, x, False),
        "where": where,
        "logical_and": _logical("logical_and"),
        "logical_or": _logical("logical_or"),
        "logical_not": logical_not,
    }
)
