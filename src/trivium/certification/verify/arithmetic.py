"""Arithmetic between quantities of one dtype: + − · /."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trivium.certification.verify import interval as iv
from trivium.certification.verify.bounds import (
    Enclosure,
    Unsupported,
    aligned,
    aside,
    chained,
    inherited,
    number,
    once,
    relative_of,
)
from trivium.certification.verify.functions import log_of, scores_of, square
from trivium.certification.verify.interval import ULPS, Interval, lower, magnitude, mignitude, upper
from trivium.certification.verify.normalization import less_log_sum, shares
from trivium.certification.verify.rounding import FLOATS, least_normal, own, unit
from trivium.certification.verify.totals import Total

_ONE = torch.ones(1, 1, dtype=torch.float64)


def constant(x: Enclosure, value: float) -> Enclosure:
    """Return a number in the dtype of x."""
    return number(x.run, value, x.dtype)


def add(x: Enclosure, y: Enclosure) -> Enclosure:
    """x + y."""
    return _sum(x, y, 1)


def subtract(x: Enclosure, y: Enclosure) -> Enclosure:
    """x − y; exactly zero for x − x."""
    if x.number == y.number and x.shape == y.shape:
        return multiply(x, constant(x, 0))
    if y.normalizer == x.number:
        return less_log_sum(x, y)
    made = _sum(x, y, -1)
    for sign, one, other in ((1, x, y), (-1, y, x)):
        if other.extreme is not None and other.extreme[0] == one.number:  # x − max x ≤ 0 ≤ x − min x, rounded or not
            below = other.extreme[1] == (sign > 0)
            made.lo, made.hi = (made.lo, made.hi.clamp(max=0.0)) if below else (made.lo.clamp(min=0.0), made.hi)
            made.lead = one
    return made


def _sum(x: Enclosure, y: Enclosure, sign: int) -> Enclosure:
    shape, (x, y) = aligned(x, y)
    value = (iv.add if sign > 0 else iv.sub)(x.value, y.value)

    def slopes() -> Interval | None:
        jx, jy = x.jacobian, y.jacobian
        if jx is None or jy is None:
            return jx if jy is None else (jy if sign > 0 else iv.neg(jy))
        return (iv.add if sign > 0 else iv.sub)(jx, jy)

    error = x.error + y.error
    made = Enclosure(x.run, value, slopes, shape, x.dtype)
    rounding = own(x.dtype, magnitude(made.box) + error, underflow=False)
    made.error = (error + rounding).expand(-1, made.width)
    made.nonnegative = sign > 0 and x.nonnegative and y.nonnegative
    positive = sign > 0 and all(bool((part.lo > 0).all()) for part in (x, y))
    if positive:
        made.relative = torch.maximum(relative_of(x), relative_of(y)) + 2 * unit(x.dtype)
    width = made.width
    if all(part.width == 1 or part.total is not None or part.constant for part in (x, y)):
        forms = [part.as_total.scaled(_plain(width)) if part.width < width else part.as_total for part in (x, y)]
        made.total = (forms[0] + forms[1].scaled(_plain(sign))).rounded(_over(rounding, width))
    for one, other in ((x, y), (y, x)):
        if one.extreme is not None and other.constant and other.width == 1 and (sign > 0 or one is x):
            made.offset = (one, other if sign > 0 else negative(other))
    with aside():
        _common(made, x, y, sign, rounding)
    if positive:
        made.logarithm = once(lambda: _log_of_sum(x, y, made))
    if sign > 0:
        mixed = _mixed(x, y)
        made.dominant = _mixed(y, x) if mixed is None else mixed
    return (made if x.constant or y.constant else made.tightened()).computed("a sum")


def _common(made: Enclosure, x: Enclosure, y: Enclosure, sign: int, rounding: Tensor) -> None:
    """What it is but for a term common to the row; the rounding of the whole stays with it."""
    width = made.width
    if y.width == 1 < width:
        made.modulo = x.core.rounded(rounding)
    elif x.width == 1 < width:
        made.modulo = (y.core if sign > 0 else negative(y.core)).rounded(rounding)
    elif width > 1 and (x.modulo is not None or y.modulo is not None):
        made.modulo = _sum(x.core, y.core, sign).rounded(rounding)


def _over(rounding: Tensor, width: int) -> float:
    return float(rounding.expand(len(rounding), width).sum(-1).max())


def _mixed(x: Enclosure, y: Enclosure) -> Enclosure | None:
    """x, if adding y does not raise distances in Hilbert's metric: a constant y ≥ 0, and x > 0 of constant row sum.

    With equal sums m·x' ≤ x ≤ M·x' has m ≤ 1 ≤ M, so m·(x' + y) ≤ x + y ≤ M·(x' + y).
    """
    fits = y.constant and bool((y.lo >= 0).all()) and x.total is not None and x.total.exact and bool((x.lo > 0).all())
    fits = fits and x.width >= y.width
    return (x if x.dominant is None else x.dominant) if fits else None


def _log_of_sum(x: Enclosure, y: Enclosure, total: Enclosure) -> Enclosure:
    """log(x + y) of positive terms: its slope is the mean of those of log x and log y, by their shares of the sum."""

    def slopes() -> Interval | None:
        def share(part: Enclosure, other: Enclosure) -> Interval:
            low, high = iv.inverse(iv.add((_ONE, _ONE), iv.div(other.box, part.box)))
            return low.clamp(min=0.0), high.clamp(max=1.0)

        return chained((log_of(x), lambda: share(x, y)), (log_of(y), lambda: share(y, x)))

    value = lower(torch.log(total.lo.clamp_min(0.0)), ULPS), upper(torch.log(total.hi), ULPS)
    return Enclosure(x.run, value, slopes, total.shape, total.dtype, relative_of(total))


def _plain(value: float) -> Total:
    return Total.number_of([float(value)])


def negative(x: Enclosure) -> Enclosure:
    """−x, exactly."""

    def slopes() -> Interval | None:
        return None if x.jacobian is None else iv.neg(x.jacobian)

    made = Enclosure(x.run, iv.neg(x.value), slopes, x.shape, x.dtype, x.error)
    made.relative = x.relative
    if x.total is not None:
        made.total = x.total.scaled(_plain(-1.0))
    elif x.width == 1:
        made.total = x.as_total.scaled(_plain(-1.0))
    if x.modulo is not None:
        made.modulo = negative(x.modulo)
    return made


def multiply(x: Enclosure, y: Enclosure) -> Enclosure:
    """x·y."""
    if x.number == y.number and x.shape == y.shape:
        return square(x)
    shape, (x, y) = aligned(x, y)
    if x.constant or (x.width == 1 and y.width > 1 and not y.constant):
        x, y = y, x  # y: the constant, or the factor common to the row
    made = Enclosure(
        x.run,
        iv.mul(x.value, y.value),
        lambda: chained((x, lambda: y.box), (y, lambda: x.box)),
        shape,
        x.dtype,
    )
    error = inherited((x, y.wide_box), (y, x.wide_box))
    rounding = own(x.dtype, magnitude(made.box) + error)
    made.error = (error + rounding).expand(-1, made.width)
    made.nonnegative = x.nonnegative and y.nonnegative
    made.relative = _relative(made, x, y)
    if y.constant and y.width == 1 and x.modulo is not None:
        with aside():
            made.modulo = multiply(x.modulo, y).rounded(rounding)
    made.total = _total_of_product(x, y, made.width, rounding)
    _keep_scores(made, x, y, divided=False)
    if y.constant and y.width == 1 and bool((y.lo > 0).all()):
        made.dominant = x.dominant
    return (made if x.constant or y.constant else made.tightened()).computed("a product")


def _relative(made: Enclosure, x: Enclosure, y: Enclosure) -> Tensor:
    """Errors of logs add, as long as the result is a normal number."""
    normal = mignitude(made.box) >= 4 * least_normal(made.dtype) if made.floating else mignitude(made.box) > 0
    return torch.where(normal, relative_of(x) + relative_of(y) + 2 * unit(made.dtype), math.inf)


def _total_of_product(x: Enclosure, y: Enclosure, width: int, rounding: Tensor) -> Total | None:
    """Of entries times a number common to them."""
    more = _over(rounding, width)
    if y.constant and x.width == 1 < y.width:
        made = x.as_total.scaled(y.as_total, float((magnitude(x.wide_box) * y.error.sum()).max()))
        return made.rounded(more)
    if y.width != 1 or x.constant:
        return None
    exact = x.total if x.width > 1 else x.as_total
    if exact is not None and y.constant and y.as_total.exact:
        moved = float((magnitude(x.wide_box).sum(-1) * y.error.sum()).max())
        return exact.scaled(y.as_total, moved).rounded(more)
    if exact is not None and exact.exact:
        # Σ x·y = (Σ x)·y, where the computed Σ x is off by exact.sum_error.
        return y.as_total.scaled(exact, exact.sum_error * float(magnitude(y.wide_box).max())).rounded(more)
    return None


def _keep_scores(made: Enclosure, x: Enclosure, y: Enclosure, divided: bool) -> None:
    """log(x·y) or log(x/y): scores add; a positive factor common to the row drops out."""
    join = subtract if divided else add
    if y.width == 1 and made.width > 1:
        if bool((y.lo > 0).all()):
            made.scores = once(lambda: scores_of(x))
    elif x.scores is not None or y.scores is not None or divided:
        made.scores = once(lambda: join(scores_of(x), scores_of(y)))
    known = x.logarithm is not None or y.logarithm is not None
    if known and all(bool((part.lo > 0).all()) for part in (x, y)):
        made.logarithm = once(lambda: join(log_of(x), log_of(y)))


def divide(x: Enclosure, y: Enclosure) -> Enclosure:
    """x/y; entries over their own sum are shares, which sum to one."""
    if x.dtype not in FLOATS:
        raise Unsupported("a division of whole numbers")
    shape, (x, y) = aligned(x, y)
    small = (mignitude(y.wide_box) < least_normal(y.dtype)).any(dim=-1)
    x.run.mark(small, "a division by a number that may be zero")
    made = _quotient(x, y, shape)
    if y.source == x.number:
        return shares(x, y, made)
    if y.extreme == (x.number, True):  # x over its largest entry
        positive = (x.lo.amin(dim=-1, keepdim=True) >= 0).expand_as(made.hi)
        made.hi = torch.where(positive, made.hi.clamp(max=1.0), made.hi)
    if not x.constant or not y.constant:
        _keep_scores(made, x, y, divided=True)
    return made


def _quotient(x: Enclosure, y: Enclosure, shape: tuple[int, ...]) -> Enclosure:
    value = iv.div(x.value, y.value)
    n = x.run.count

    def over(box: Interval) -> Interval:
        return iv.inverse(box)

    def slope(ratio: Interval, box: Interval) -> Interval:
        return iv.neg(iv.div(ratio, box))

    ratio = value if len(value[0]) == 1 else (value[0][:n], value[1][:n])
    wide = iv.div(x.wide_box, y.wide_box)

    def slopes() -> Interval | None:
        return chained((x, lambda: over(y.box)), (y, lambda: slope(ratio, y.box)))

    made = Enclosure(x.run, value, slopes, shape, x.dtype)
    error = inherited((x, over(y.wide_box)), (y, slope(wide, y.wide_box)))
    rounding = own(x.dtype, magnitude(made.box) + error, 2.0)
    made.error = (error + rounding).expand(-1, made.width)
    made.nonnegative = x.nonnegative and y.nonnegative
    made.relative = _relative(made, x, y)
    if y.constant and y.width == 1:
        if x.modulo is not None:
            with aside():
                made.modulo = _quotient(x.modulo, y, x.modulo.shape).rounded(rounding)
        exact = x.total if x.width > 1 else x.as_total
        if exact is not None and float(y.lo) == float(y.hi) != 0:
            moved = float((magnitude(wide).sum(-1) * (y.error / mignitude(y.wide_box)).sum()).max())
            made.total = exact.scaled(_plain(1 / float(y.lo)), moved).rounded(_over(rounding, made.width))
    return (made if x.constant or y.constant else made.tightened()).computed("a quotient")


def lerp(start: Enclosure, end: Enclosure, weight: Enclosure) -> Enclosure:
    """start + weight·(end − start), by one of two formulas."""
    step = subtract(end, start)
    made = add(start, multiply(step, weight))
    rest = subtract(constant(weight, 1), weight)
    size = torch.maximum(magnitude(weight.wide_box), magnitude(rest.wide_box)).clamp_min(1.0)
    extra = own(start.dtype, size * magnitude(step.wide_box), 6.0)
    made.error = made.error + extra
    made.total = None if made.total is None else made.total.rounded(_over(extra, made.width))
    made.modulo = None if made.modulo is None else made.modulo.rounded(extra)
    return made
