"""Sums, extremes, order statistics and products over any axes of a row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trivium.certification.verify import interval as iv
from trivium.certification.verify.arithmetic import constant, divide, multiply, subtract
from trivium.certification.verify.bounds import Enclosure, Unsupported, join, relative_of, select
from trivium.certification.verify.casts import cast, unknown
from trivium.certification.verify.functions import absolute, sqrt, square
from trivium.certification.verify.interval import Interval, lower, magnitude, upper
from trivium.certification.verify.normalization import along, grouped, wrapped
from trivium.certification.verify.rounding import largest, own, unit, vanishing
from trivium.certification.verify.table import Call, entry, needs_float, needs_number

_ATEN = torch.ops.aten


def linear_map(x: Enclosure, matrix: Tensor, shape: tuple[int, ...], unit: float | None = None) -> Enclosure:
    """x @ C for an exact matrix C [M, M'], summed in any order."""

    def slopes() -> Interval | None:
        return None if x.jacobian is None else iv.linear(x.jacobian, matrix, dim=1)

    made = Enclosure(x.run, iv.linear(x.value, matrix), slopes, shape, x.dtype)
    terms = int((matrix != 0).sum(0).max())
    reach = magnitude(x.wide_box) @ matrix.abs()
    rounding = own(x.dtype, reach, terms + 2.0) if terms > 1 or unit is not None else torch.zeros_like(reach)
    if unit is not None and x.dtype is torch.float32:
        rounding = rounding + 2 * unit * reach
    made.error = x.error @ matrix.abs() * (1 + 1e-9) + rounding
    if x.floating:  # whole numbers wrap, and what they come to at the end is right
        x.run.mark(~(reach + rounding <= largest(x.dtype)).all(dim=-1), "a sum may overflow on its way")
    made.nonnegative = x.nonnegative and bool((matrix >= 0).all())
    return made if x.constant else made.tightened()


def total_of(x: Enclosure) -> Enclosure:
    """Σ x over all entries, [1]."""
    made = linear_map(x, torch.ones(x.width, 1, dtype=torch.float64), (1,))
    made.source = x.number
    if x.floating and bool((x.lo > 0).all()):
        made.relative = relative_of(x).amax(-1, keepdim=True) + (x.width + 2) * unit(x.dtype)
    if x.total is not None:
        made.total = x.total.rounded(float((made.error - x.error.sum(-1, keepdim=True)).clamp_min(0.0).max()))
        if x.total.exact:
            reach = x.total.distance(x.total.constant, {})
            made.lo = made.lo.clamp(min=math.nextafter(x.total.constant - reach, -math.inf))
            made.hi = made.hi.clamp(max=math.nextafter(x.total.constant + reach, math.inf))
    return made


def summed(call: Call, x: Enclosure, dim: Any) -> Enclosure:
    """Σ over some axes, in the shape of the call."""
    parts, places = grouped(x, wrapped(dim, len(x.shape)))
    if len(parts) == 1:
        return total_of(parts[0]).reshaped(call.shape)
    matrix = torch.zeros(x.width, len(parts), dtype=torch.float64)
    matrix[places.flatten(), torch.arange(len(parts)).repeat_interleave(places.shape[1])] = 1.0
    return linear_map(x, matrix, call.shape)


def reduced(call: Call, x: Enclosure, dim: Any, step: Callable[[Enclosure], Enclosure]) -> Enclosure:
    """Return an operation from a vector to one number, [1], over some axes."""
    parts, _ = grouped(x, wrapped(dim, len(x.shape)))
    return join(call.run, [step(part) for part in parts]).reshaped(call.shape)


def _accumulated(call: Call, x: Any) -> Enclosure:
    """In the dtype in which torch sums: that of the result."""
    operand = call.lift(x)
    needs_number(operand, call.name)
    return operand


@entry(_ATEN.sum.default)
def _sum_all(call: Call, x: Any, dtype: Any = None) -> Enclosure:
    return summed(call, _accumulated(call, x), None)


@entry(_ATEN.sum.dim_IntList)
def _sum(call: Call, x: Any, dim: Any, keepdim: bool = False, dtype: Any = None) -> Enclosure:
    return summed(call, _accumulated(call, x), dim)


@entry(_ATEN.mean.default)
def _mean_all(call: Call, x: Any, dtype: Any = None) -> Enclosure:
    return mean(call, _accumulated(call, x), None)


@entry(_ATEN.mean.dim)
def _mean(call: Call, x: Any, dim: Any, keepdim: bool = False, dtype: Any = None) -> Enclosure:
    return mean(call, _accumulated(call, x), dim)


def mean(call: Call, x: Enclosure, dim: Any) -> Enclosure:
    """Σ over some axes by how many there are."""
    needs_float(x, call.name)
    made = summed(call, x, dim)
    return divide(made, constant(x, x.width // max(made.width, 1)))


def largest_of(x: Enclosure, largest: bool = True) -> Enclosure:
    """max or min over all entries, [1], exactly."""
    reduce: Callable[..., Tensor] = torch.amax if largest else torch.amin
    value = reduce(x.lo, -1, keepdim=True), reduce(x.hi, -1, keepdim=True)
    low, high = x.box
    candidate = high >= low.amax(-1, keepdim=True) if largest else low <= high.amin(-1, keepdim=True)

    made = Enclosure(x.run, value, lambda: _hull_of(x.jacobian, candidate.unsqueeze(1)), (1,), x.dtype)
    # max is 1-Lipschitz in the largest of the errors.
    made.error = x.error.amax(-1, keepdim=True)
    made.extreme = (x.number, largest)
    made.nonnegative = x.nonnegative
    return made


def _hull_of(slopes: Interval | None, candidates: Tensor) -> Interval | None:
    """Hull [N, M', D] of the slopes [N, M, D] of the candidates [N or 1, M', M]."""
    if slopes is None:
        return None
    out = ~candidates.unsqueeze(-1)
    return (
        slopes[0].unsqueeze(1).masked_fill(out, math.inf).amin(dim=2),
        slopes[1].unsqueeze(1).masked_fill(out, -math.inf).amax(dim=2),
    )


def place_of(x: Enclosure, largest: bool) -> Enclosure:
    """Return the number of a largest or smallest entry, [1]: any of those that may be it, ties and rounding
    included."""
    low, high = x.wide
    candidate = high >= low.amax(-1, keepdim=True) if largest else low <= high.amin(-1, keepdim=True)
    return _numbers(x, candidate.unsqueeze(1), (1,))


def _numbers(x: Enclosure, candidate: Tensor, shape: tuple[int, ...]) -> Enclosure:
    """Whole numbers between the first and the last candidate [2N or 1, M', M]."""
    places = torch.arange(x.width, dtype=torch.float64)
    low = torch.where(candidate, places, math.inf).amin(-1)
    high = torch.where(candidate, places, -math.inf).amax(-1)
    open_ = low != high
    n = x.run.count

    def slopes() -> Interval | None:
        rows = open_ if len(open_) == 1 else open_[:n]
        whole = unknown((x,), rows.any(-1, keepdim=True).expand(-1, x.width))
        if whole is None:
            return None
        reach = whole[1].amax(1, keepdim=True)
        reach = torch.where(rows.unsqueeze(-1), reach, 0.0)
        return -reach, reach

    made = Enclosure(x.run, (low, high), slopes, shape, torch.int64)
    made.nonnegative = True
    return made


def _extremes(overload: Any, largest: bool, all_: bool) -> None:
    if all_:

        def over_all(call: Call, x: Any) -> Enclosure:
            operand = call.lift(x)
            return reduced(call, operand, None, lambda part: largest_of(part, largest))

        entry(overload)(over_all)
    else:

        def over_some(call: Call, x: Any, dim: Any = None, keepdim: bool = False) -> Enclosure:
            operand = call.lift(x)
            return reduced(call, operand, dim, lambda part: largest_of(part, largest))

        entry(overload)(over_some)


for _largest, _short in ((True, "max"), (False, "min")):
    _extremes(getattr(_ATEN, "a" + _short).default, _largest, False)
    _extremes(getattr(_ATEN, _short).default, _largest, True)


def _with_place(name: str, largest: bool) -> None:
    @entry(getattr(_ATEN, name).dim)
    def found(call: Call, x: Any, dim: int, keepdim: bool = False) -> tuple[Enclosure, Enclosure]:
        operand = call.lift(x, x.dtype)
        return (
            reduced(call, operand, dim, lambda part: largest_of(part, largest)),
            reduced(call, operand, dim, lambda part: place_of(part, largest)),
        )

    @entry(getattr(_ATEN, "arg" + name).default)
    def place(call: Call, x: Any, dim: Any = None, keepdim: bool = False) -> Enclosure:
        return reduced(call, call.lift(x, x.dtype), dim, lambda part: place_of(part, largest))


_with_place("max", True)
_with_place("min", False)


@entry(_ATEN.aminmax.default)
def _both(call: Call, x: Any, dim: Any = None, keepdim: bool = False) -> tuple[Enclosure, Enclosure]:
    operand = call.lift(x)
    return (
        reduced(call, operand, dim, lambda part: largest_of(part, False)),
        reduced(call, operand, dim, largest_of),
    )


def _truths(name: str, largest: bool) -> None:
    """Whether all, or any, are not zero."""

    def over_all(call: Call, x: Any) -> Enclosure:
        operand = cast(call.lift(x, x.dtype), torch.bool)
        return reduced(call, operand, None, lambda part: largest_of(part, largest))

    def over_some(call: Call, x: Any, dim: Any = None, keepdim: bool = False) -> Enclosure:
        operand = cast(call.lift(x, x.dtype), torch.bool)
        return reduced(call, operand, dim, lambda part: largest_of(part, largest))

    entry(getattr(_ATEN, name).default)(over_all)
    entry(getattr(_ATEN, name).dim, getattr(_ATEN, name).dims)(over_some)


_truths("all", False)
_truths("any", True)


def _length(x: Enclosure) -> Enclosure:
    """(Σ x²)^{1/2}, [1]. Where it may vanish its slopes are those along some unit vector."""
    squares = total_of(square(x))
    low, high = squares.lo.clamp(min=0.0).sqrt(), squares.hi.clamp(min=0.0).sqrt()
    value = lower(low).clamp_min(0.0), upper(high)
    n = x.run.count

    def slopes() -> Interval | None:
        inner = x.jacobian
        if inner is None:
            return None
        unit = iv.div(x.box, (value[0][:n], value[1][:n]))
        unit = unit[0].clamp(min=-1.0), unit[1].clamp(max=1.0)
        steep = iv.total(iv.mul((unit[0].unsqueeze(-1), unit[1].unsqueeze(-1)), inner), 1)
        return steep[0].unsqueeze(1), steep[1].unsqueeze(1)

    made = Enclosure(x.run, value, slopes, (1,), x.dtype)
    # A norm is 1-Lipschitz; its squares may vanish, or overflow, which they are asked for themselves.
    squares.check("the sum of squares in a norm")
    lost = math.sqrt(x.width * float(own(x.dtype, torch.zeros(()), 1.0)))
    size = magnitude(made.box) + x.error.sum(-1, keepdim=True)
    made.error = x.error.sum(-1, keepdim=True) + own(x.dtype, size, x.width + 6.0) + (lost if x.floating else 0.0)
    made.nonnegative = True
    return made if x.constant else made.tightened()


def norm(call: Call, x: Enclosure, p: Any, dim: Any) -> Enclosure:
    """Of order 2, 1 or infinity."""
    needs_float(x, call.name)
    if p == 1:
        return summed(call, absolute(x), dim)
    if p == math.inf:
        return reduced(call, absolute(x), dim, largest_of)
    if p != 2:
        raise Unsupported(f"{call.name} of order {p}")
    return reduced(call, x, dim, _length)


@entry(_ATEN.linalg_vector_norm.default)
def _vector_norm(
    call: Call, x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> Enclosure:
    return norm(call, call.lift(x), ord, dim)


@entry(_ATEN.norm.ScalarOpt_dim)
def _norm(call: Call, x: Any, p: Any, dim: Any, keepdim: bool = False) -> Enclosure:
    return norm(call, call.lift(x), 2 if p is None else p, dim)


def _deviation(call: Call, x: Any, dim: Any, correction: Any, root: bool) -> Enclosure:
    operand = call.lift(x)
    needs_float(operand, call.name)
    less = 1 if correction is None else correction

    def spread(part: Enclosure) -> Enclosure:
        if part.width - less <= 0:
            raise Unsupported(f"{call.name} of {part.width} numbers with correction {less}")
        middle = divide(total_of(part), constant(part, part.width))
        off = subtract(part, middle)
        divisor = constant(part, part.width - less)
        if root:
            return divide(_length(off), sqrt(divisor))
        return divide(total_of(square(off)), divisor)

    return reduced(call, operand, dim, spread)


@entry(_ATEN.var.correction)
def _var(call: Call, x: Any, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Enclosure:
    return _deviation(call, x, dim, correction, False)


@entry(_ATEN.std.correction)
def _std(call: Call, x: Any, dim: Any = None, correction: Any = None, keepdim: bool = False) -> Enclosure:
    return _deviation(call, x, dim, correction, True)


@entry(_ATEN.cumsum.default)
def _cumsum(call: Call, x: Any, dim: int, dtype: Any = None) -> Enclosure:
    operand = _accumulated(call, x)

    def running(part: Enclosure) -> Enclosure:
        return linear_map(part, torch.ones(part.width, part.width, dtype=torch.float64).triu(), part.shape)

    return along(call, operand, dim, running)


@entry(_ATEN.cummax.default, _ATEN.cummin.default)
def _running_extreme(call: Call, x: Any, dim: int) -> tuple[Any, ...]:
    operand, largest = call.lift(x, x.dtype), "cummax" in call.name

    def running(part: Enclosure) -> Enclosure:
        heads = [select(part, torch.arange(stop), (stop,)) for stop in range(1, part.width + 1)]
        return join(call.run, [largest_of(head, largest) for head in heads])

    return along(call, operand, dim, running), None


@entry(_ATEN.prod.default)
def _prod_all(call: Call, x: Any, dtype: Any = None) -> Enclosure:
    return reduced(call, _accumulated(call, x), None, _product)


@entry(_ATEN.prod.dim_int)
def _prod(call: Call, x: Any, dim: int, keepdim: bool = False, dtype: Any = None) -> Enclosure:
    return reduced(call, _accumulated(call, x), dim, _product)


def _product(x: Enclosure) -> Enclosure:
    """In any order: what underflows on the way may be made large again by the other factors."""
    made = select(x, torch.tensor([0]), (1,))
    for place in range(1, x.width):
        made = multiply(made, select(x, torch.tensor([place]), (1,)))
    if not x.floating:
        return made
    reach = magnitude(x.wide_box).clamp_min(1.0).prod(-1, keepdim=True) * (1 + x.width * 1e-9)
    x.run.mark(~(reach <= largest(x.dtype)).all(dim=-1), "a product may overflow on its way")
    more = x.width * (vanishing(x.dtype) * reach + own(x.dtype, magnitude(made.wide_box)))
    return made.rounded(more)
