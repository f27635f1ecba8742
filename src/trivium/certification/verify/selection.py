"""Choice between quantities: maximum, clamp, comparisons and what is made of them, where."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from trivium.certification.verify import interval as iv
from trivium.certification.verify.arithmetic import subtract
from trivium.certification.verify.bounds import Enclosure, Unsupported, aligned, aside
from trivium.certification.verify.casts import cast, decided, is_not_zero, unknown
from trivium.certification.verify.interval import Interval
from trivium.certification.verify.table import Call, entry, promoted
from trivium.certification.verify.totals import Total

_ATEN = torch.ops.aten


def _pick(x: Enclosure, y: Enclosure, first: Tensor, second: Tensor) -> Interval | None:
    """Return slopes of whichever of two is chosen, [N or 1, M] bool each; of both where neither is decided."""
    jx, jy = x.jacobian, y.jacobian
    if jx is None and jy is None:
        return None
    zero = torch.zeros(1, 1, x.run.dimension, dtype=torch.float64)
    jx, jy = jx or (zero, zero), jy or (zero, zero)
    both = iv.hull(jx, jy)
    a, b = first.unsqueeze(-1), second.unsqueeze(-1)
    low = torch.where(a, jx[0], torch.where(b, jy[0], both[0]))
    high = torch.where(a, jx[1], torch.where(b, jy[1], both[1]))
    return low, high


def larger(x: Enclosure, y: Enclosure) -> Enclosure:
    """max(x, y), exactly."""
    return _extreme(x, y, True)


def smaller(x: Enclosure, y: Enclosure) -> Enclosure:
    """min(x, y), exactly."""
    return _extreme(x, y, False)


def _extreme(x: Enclosure, y: Enclosure, largest: bool) -> Enclosure:
    shape, (x, y) = aligned(x, y)
    pick = torch.maximum if largest else torch.minimum
    value = pick(x.lo, y.lo), pick(x.hi, y.hi)
    # Where one surely wins over the whole of a closed sub-box, the maximum is that one there, ties included.
    (xl, xh), (yl, yh) = x.box, y.box
    above, below = xl >= yh, xh <= yl
    first, second = (above, below) if largest else (below, above)

    made = Enclosure(x.run, value, lambda: _pick(x, y, first, second), shape, x.dtype, torch.maximum(x.error, y.error))
    (xl, xh), (yl, yh) = x.wide_box, y.wide_box
    surely, never = (xl >= yh, xh <= yl) if largest else (xh <= yl, xl >= yh)
    made.error = torch.where(surely, x.error, torch.where(never, y.error, made.error)).expand(-1, made.width)
    made.whole = x.whole and y.whole
    either = x.nonnegative or y.nonnegative
    made.nonnegative = either if largest else x.nonnegative and y.nonnegative
    for one, other in ((x, y), (y, x)):
        # max(x, max x − B), or max(x − max x, −B), and the like with min: monotone and commuting with shifts (T6).
        if other.offset is not None and other.offset[0].extreme == (one.number, largest):
            top, budget = other.offset
            with aside():
                made.modulo = _extreme(subtract(one, top), budget, largest).rounded(other.error)
        elif one.lead is not None and other.constant and other.width == 1:
            made.limited = one.lead
    return made


def clamp(x: Enclosure, low: Enclosure | None, high: Enclosure | None) -> Enclosure:
    """min(max(x, low), high)."""
    x = x if low is None else larger(x, low)
    made = x if high is None else smaller(x, high)
    if low is not None and high is not None:  # real or rounded, it lies between them
        (least, lowest), (highest, most) = low.wide_box, high.wide_box
        span = torch.where((made.error > 0) & (lowest <= highest), (most - least) * (1 + 1e-9), math.inf)
        made.error = torch.minimum(made.error, span)
    return made


def greater(x: Enclosure, y: Enclosure, strict: bool) -> Enclosure:
    """x > y or x ≥ y as 0, 1 or undecided, whatever rounding did to either."""
    _, (x, y) = aligned(x, y)
    (xl, xh), (yl, yh) = x.wide, y.wide
    true, false = (xl > yh, xh <= yl) if strict else (xl >= yh, xh < yl)
    return decided(true, false, (x, y))


def equal(x: Enclosure, y: Enclosure) -> Enclosure:
    """x = y. A whole number among different ones that are all it may be equals exactly one of them."""
    if x.number == y.number and x.shape == y.shape:
        same = torch.ones(1, x.width, dtype=torch.bool)
        return decided(same, ~same, (x, y))
    _, (x, y) = aligned(x, y)
    (xl, xh), (yl, yh) = x.wide, y.wide
    true, false = (xl == xh) & (yl == yh) & (xl == yl), (xl > yh) | (xh < yl)
    made = decided(true, false, (x, y))
    for index, among in ((x, y), (y, x)):
        if index.width == 1 and among.constant and not index.floating and not among.floating:
            values = {int(value) for value in among.lo[0].tolist()}
            least, most = float(index.lo.min()), float(index.hi.max())
            few = len(values) == among.width and most - least < len(values)
            if few and set(range(math.floor(least), math.ceil(most) + 1)) <= values:
                made.total = Total(1.0)
    return made


def negation(x: Enclosure) -> Enclosure:
    """1 − x of a comparison."""

    def slopes() -> Interval | None:
        return None if x.jacobian is None else iv.neg(x.jacobian)

    made = Enclosure(x.run, (1 - x.hi, 1 - x.lo), slopes, x.shape, torch.bool)
    made.nonnegative = True
    return made


def choose(condition: Enclosure, x: Enclosure, y: Enclosure) -> Enclosure:
    """x where the condition holds, else y; both where it is undecided, with a jump between them."""
    shape, (condition, x, y) = aligned(condition, x, y)
    if x.number == y.number and x.width == math.prod(shape):
        return x.reshaped(shape)
    true, false = condition.lo == 1, condition.hi == 0
    low = torch.where(true, x.lo, torch.where(false, y.lo, torch.minimum(x.lo, y.lo)))
    high = torch.where(true, x.hi, torch.where(false, y.hi, torch.maximum(x.hi, y.hi)))
    n = x.run.count
    t, f = (part if len(part) == 1 else part[:n] for part in (true, false))

    def slopes() -> Interval | None:
        chosen, jump = _pick(x, y, t, f), unknown((condition, x, y), ~(t | f))
        if chosen is None or jump is None or condition.constant:
            return jump if chosen is None else chosen
        return torch.minimum(chosen[0], jump[0]), torch.maximum(chosen[1], jump[1])

    error = torch.where(t, x.error, torch.where(f, y.error, torch.maximum(x.error, y.error)))
    made = Enclosure(x.run, (low, high), slopes, shape, x.dtype)
    made.error = error.expand(len(error), made.width)
    made.nonnegative = x.nonnegative and y.nonnegative
    totals = [part.as_total if part.constant else part.total for part in (x, y)]
    if condition.width == 1 and x.width == y.width and all(part is not None and part.exact for part in totals):
        made.total = Total.either(*(part for part in totals if part is not None))
    return made


def _ordered(name: str, strict: bool, swapped: bool) -> None:
    def bound(call: Call, x: Any, other: Any) -> Enclosure:
        x, other = call.operands(x, other)
        return greater(other, x, strict) if swapped else greater(x, other, strict)

    for overload in ("Tensor", "Scalar"):
        entry(getattr(getattr(_ATEN, name), overload))(bound)


_ordered("gt", True, False)
_ordered("ge", False, False)
_ordered("lt", True, True)
_ordered("le", False, True)


@entry(_ATEN.eq.Tensor, _ATEN.eq.Scalar)
def _equal(call: Call, x: Any, other: Any) -> Enclosure:
    return equal(*call.operands(x, other))


@entry(_ATEN.ne.Tensor, _ATEN.ne.Scalar)
def _unequal(call: Call, x: Any, other: Any) -> Enclosure:
    return negation(equal(*call.operands(x, other)))


@entry(_ATEN.isnan.default)
def _is_nan(call: Call, x: Any) -> Enclosure:
    """Never: a sub-box where a number may be none is marked."""
    operand = call.lift(x, x.dtype)
    return negation(equal(operand, operand))


def _joined(name: str, any_: bool, logical: bool) -> None:
    def bound(call: Call, x: Any, other: Any) -> Enclosure:
        x, other = (call.lift(v, v.dtype if is_tensor(v) else torch.bool) for v in (x, other))
        if not logical and not (x.dtype is torch.bool and other.dtype is torch.bool):
            raise Unsupported(f"{call.name} of whole numbers")
        return _extreme(cast(x, torch.bool), cast(other, torch.bool), any_)

    for overload in ("default",) if logical else ("Tensor", "Scalar"):
        entry(getattr(getattr(_ATEN, name), overload))(bound)


def is_tensor(value: Any) -> bool:
    """Return whether it is a tensor of the graph, not a number."""
    return isinstance(value, Enclosure | Tensor)


_joined("logical_and", False, True)
_joined("logical_or", True, True)
_joined("bitwise_and", False, False)
_joined("bitwise_or", True, False)


@entry(_ATEN.logical_xor.default, _ATEN.bitwise_xor.Tensor)
def _exclusive(call: Call, x: Any, other: Any) -> Enclosure:
    x, other = (call.lift(v, v.dtype) for v in (x, other))
    if call.name.startswith("aten.bitwise") and not (x.dtype is torch.bool and other.dtype is torch.bool):
        raise Unsupported(f"{call.name} of whole numbers")
    return negation(equal(cast(x, torch.bool), cast(other, torch.bool)))


@entry(_ATEN.logical_not.default, _ATEN.bitwise_not.default)
def _negated(call: Call, x: Any) -> Enclosure:
    operand = call.lift(x, x.dtype)
    if call.name.startswith("aten.bitwise") and operand.dtype is not torch.bool:
        raise Unsupported(f"{call.name} of whole numbers")
    return negation(is_not_zero(operand) if operand.dtype is not torch.bool else operand)


@entry(_ATEN.maximum.default)
def _maximum(call: Call, x: Any, other: Any) -> Enclosure:
    return larger(*call.operands(x, other))


@entry(_ATEN.minimum.default)
def _minimum(call: Call, x: Any, other: Any) -> Enclosure:
    return smaller(*call.operands(x, other))


def _bound_or_none(call: Call, value: Any) -> Enclosure | None:
    if value is None or (isinstance(value, float) and math.isinf(value)):
        return None
    return call.lift(value)


def _limits(call: Call, x: Any, low: Any, high: Any) -> Enclosure:
    """In the dtype of the result, to which the limits are written as well."""
    if (low is not None and low == math.inf) or (high is not None and high == -math.inf):
        raise Unsupported(f"{call.name} to infinity")
    return clamp(call.lift(x), _bound_or_none(call, low), _bound_or_none(call, high))


@entry(_ATEN.clamp.default)
def _clamp(call: Call, x: Any, min: Any = None, max: Any = None) -> Enclosure:
    return _limits(call, x, min, max)


@entry(_ATEN.clamp.Tensor)
def _clamp_tensor(call: Call, x: Any, min: Any = None, max: Any = None) -> Enclosure:
    low, high = (None if end is None else call.lift(end) for end in (min, max))
    return clamp(call.lift(x), low, high)


@entry(_ATEN.hardtanh.default)
def _hardtanh(call: Call, x: Any, min_val: Any = -1, max_val: Any = 1) -> Enclosure:
    return _limits(call, x, min_val, max_val)


@entry(_ATEN.clamp_min.default)
def _clamp_min(call: Call, x: Any, min: Any) -> Enclosure:
    return _limits(call, x, min, None)


@entry(_ATEN.clamp_max.default)
def _clamp_max(call: Call, x: Any, max: Any) -> Enclosure:
    return _limits(call, x, None, max)


@entry(_ATEN.clamp_min.Tensor)
def _clamp_min_tensor(call: Call, x: Any, min: Any) -> Enclosure:
    return larger(*call.operands(x, min))


@entry(_ATEN.clamp_max.Tensor)
def _clamp_max_tensor(call: Call, x: Any, max: Any) -> Enclosure:
    return smaller(*call.operands(x, max))


@entry(_ATEN.where.self)
def _where(call: Call, condition: Any, x: Any, other: Any) -> Enclosure:
    test = call.lift(condition, condition.dtype)
    if test.dtype is not torch.bool:
        raise Unsupported("where() on something that is no comparison")
    kind = promoted(x, other)
    return choose(test, call.lift(x, kind), call.lift(other, kind))


@entry(_ATEN.masked_fill.Scalar, _ATEN.masked_fill.Tensor)
def _masked_fill(call: Call, x: Any, mask: Any, value: Any) -> Enclosure:
    test = call.lift(mask, mask.dtype)
    if test.dtype is not torch.bool:
        raise Unsupported("masked_fill with something that is no comparison")
    return choose(test, call.lift(value), call.lift(x))


@entry(_ATEN.threshold.default)
def _threshold(call: Call, x: Any, threshold: Any, value: Any) -> Enclosure:
    operand = call.lift(x)
    return choose(greater(operand, call.lift(threshold), True), operand, call.lift(value))
