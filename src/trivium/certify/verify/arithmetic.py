"""Arithmetic between quantities of one row: + − · /."""

from __future__ import annotations

from typing import Any

import torch

from trivium.certify.verify import interval as iv
from trivium.certify.verify.bounds import OPERATIONS, Bounds, apply
from trivium.certify.verify.elementwise import log_of, scores_of
from trivium.certify.verify.form import Form
from trivium.certify.verify.interval import ULPS, Interval, lower, upper
from trivium.certify.verify.lifting import aligned, lift
from trivium.certify.verify.simplex import log_softmax_of, shares
from trivium.certify.verify.trace import UNDERFLOW, Trace, Unsupported


def _sum(x: Bounds, y: Bounds, sign: float) -> Bounds:
    def slopes() -> Interval | None:
        jx, jy = x.jacobian, y.jacobian
        if jx is None or jy is None:
            return jx if jy is None else (jy if sign > 0 else iv.neg(jy))
        return (iv.add if sign > 0 else iv.sub)(jx, jy)

    made = Bounds(x.trace, (iv.add if sign > 0 else iv.sub)(x.value, y.value), slopes, aligned(x, y))
    width = made.width
    if all(part.width == 1 or part.total is not None or part.constant for part in (x, y)):
        forms = [part.form.scaled(_number(width)) if part.width < width else part.form for part in (x, y)]
        made.total = forms[0] + forms[1].scaled(_number(sign))
    for one, other in ((x, y), (y, x)):
        if one.extreme is not None and other.constant and other.width == 1 and (sign > 0 or one is x):
            made.offset = (one, other if sign > 0 else negative(other.trace, other))
    common = [part.width == 1 and width > 1 for part in (x, y)]
    if common[1]:
        made.modulo = x.core
    elif common[0]:
        made.modulo = y.core if sign > 0 else apply("neg", (y.core,), {})
    elif width > 1 and (x.modulo is not None or y.modulo is not None):
        made.modulo = _sum(x.core, y.core, sign)
    if sign > 0 and all(bool((part.lo > 0).all()) for part in (x, y)):
        made.logarithm = lambda: _log_of_sum(x, y, made)
    if sign > 0:
        mixed = _mixed(x, y)
        made.dominant = _mixed(y, x) if mixed is None else mixed
    return made if x.constant or y.constant else made.tightened()


def _mixed(x: Bounds, y: Bounds) -> Bounds | None:
    """x, if adding y does not raise distances in Hilbert's metric: a constant y ≥ 0, and x > 0 of constant row sum.

    With equal sums m·x' ≤ x ≤ M·x' has m ≤ 1 ≤ M, so m·(x' + y) ≤ x + y ≤ M·(x' + y).
    """
    fits = y.constant and bool((y.lo >= 0).all()) and x.total is not None and x.total.exact and bool((x.lo > 0).all())
    return (x if x.dominant is None else x.dominant) if fits else None


def _log_of_sum(x: Bounds, y: Bounds, total: Bounds) -> Bounds:
    """log(x + y) of positive terms: its slope is the mean of those of log x and log y, by their shares of the sum."""

    def slopes() -> Interval | None:
        one = torch.ones(1, dtype=torch.float64)
        parts = []
        for part, other in ((x, y), (y, x)):
            inner = log_of(part).jacobian
            if inner is not None:
                share = iv.inverse(iv.add((one, one), iv.div(other.box, part.box)))
                share = share[0].clamp(min=0.0), share[1].clamp(max=1.0)
                parts.append(iv.mul((share[0].unsqueeze(-1), share[1].unsqueeze(-1)), inner))
        if len(parts) == 2:
            return iv.add(parts[0], parts[1])
        return parts[0] if parts else None

    value = lower(torch.log(total.lo.clamp_min(0.0)), ULPS), upper(torch.log(total.hi), ULPS)
    return Bounds(x.trace, value, slopes, total.axis)


def _number(value: float) -> Form:
    return Form.number_of([float(value)])


def add(trace: Trace, x: Any, y: Any, alpha: float = 1) -> Bounds:
    """x + alpha·y."""
    return _sum(lift(trace, x), lift(trace, y if alpha == 1 else apply("mul", (y, alpha), {})), 1.0)


def subtract(trace: Trace, x: Any, y: Any, alpha: float = 1) -> Bounds:
    """x − alpha·y; exactly zero for x − x."""
    x, y = lift(trace, x), lift(trace, y if alpha == 1 else apply("mul", (y, alpha), {}))
    if x is y:
        return multiply(trace, x, 0.0)
    if y.normalizer is x:
        return log_softmax_of(x.core)
    made = _sum(x, y, -1.0)
    for sign, one, other in ((1, x, y), (-1, y, x)):
        if other.extreme is not None and other.extreme[0] == one.number:  # x − max x ≤ 0 ≤ x − min x
            below = other.extreme[1] == (sign > 0)
            made.lo, made.hi = (made.lo, made.hi.clamp(max=0.0)) if below else (made.lo.clamp(min=0.0), made.hi)
            made.lead = one
    return made


def negative(trace: Trace, x: Any) -> Bounds:
    """−x."""
    x = lift(trace, x)

    def slopes() -> Interval | None:
        return None if x.jacobian is None else iv.neg(x.jacobian)

    made = Bounds(trace, iv.neg(x.value), slopes, x.axis)
    if x.total is not None:
        made.total = x.total.scaled(_number(-1.0))
    elif x.width == 1:
        made.total = x.form.scaled(_number(-1.0))
    if x.modulo is not None:
        made.modulo = negative(trace, x.modulo)
    return made


def multiply(trace: Trace, x: Any, y: Any) -> Bounds:
    """x·y."""
    x, y = lift(trace, x), lift(trace, y)
    if x is y:
        square: Bounds = apply("square", (x,), {})
        return square
    if x.constant or (x.width == 1 and y.width > 1 and not y.constant):
        x, y = y, x  # y: the constant, or the factor common to the row

    def slopes() -> Interval | None:
        return _product_slopes(x, y)

    made = Bounds(trace, iv.mul(x.value, y.value), slopes, aligned(x, y))
    if y.constant and y.width == 1 and x.modulo is not None:
        made.modulo = multiply(trace, x.modulo, y)
    if y.constant and x.width == 1 < y.width:
        made.total = x.form.scaled(y.form)
    elif y.width == 1 and not x.constant:
        exact = x.total if x.width > 1 else x.form
        if exact is not None and y.constant and y.form.exact:
            made.total = exact.scaled(y.form)
        elif exact is not None and exact.exact:
            made.total = y.form.scaled(exact)
    _keep_scores(made, x, y, "add")
    if y.constant and y.width == 1 and bool((y.lo > 0).all()):
        made.dominant = x.dominant
    return made if x.constant or y.constant else made.tightened()


def _product_slopes(x: Bounds, y: Bounds) -> Interval | None:
    parts = []
    for one, other in ((x, y), (y, x)):
        if other.jacobian is not None:
            box = one.box
            parts.append(iv.mul((box[0].unsqueeze(-1), box[1].unsqueeze(-1)), other.jacobian))
    if len(parts) == 2:
        return iv.add(parts[0], parts[1])
    return parts[0] if parts else None


def _keep_scores(made: Bounds, x: Bounds, y: Bounds, how: str) -> None:
    """log(x·y) or log(x/y): scores add; a positive factor common to the row drops out."""
    if y.width == 1 and made.width > 1:
        if bool((y.lo > 0).all()):
            made.scores = lambda: scores_of(x)
    elif x.scores is not None or y.scores is not None or how == "sub":
        made.scores = lambda: apply(how, (scores_of(x), scores_of(y)), {})
    known = x.logarithm is not None or y.logarithm is not None
    if known and all(bool((part.lo > 0).all()) for part in (x, y)):
        made.logarithm = lambda: apply(how, (log_of(x), log_of(y)), {})


def divide(trace: Trace, x: Any, y: Any, rounding_mode: None = None) -> Bounds:
    """x/y; entries over their own row sum are shares, which sum to one."""
    if rounding_mode is not None:
        raise Unsupported("a division that rounds")
    x, y = lift(trace, x), lift(trace, y)
    small = (iv.mignitude(y.box) < UNDERFLOW).any(dim=-1)
    trace.mark(small, "a division by a number that may be zero")
    made = _quotient(x, y)
    if y.source is x:
        return shares(x, made)
    if y.extreme == (x.number, True):  # x over its largest entry
        positive = (x.lo.amin(dim=-1, keepdim=True) >= 0).expand_as(made.hi)
        made.hi = torch.where(positive, made.hi.clamp(max=1.0), made.hi)
    if not x.constant or not y.constant:
        _keep_scores(made, x, y, "sub")
    return made


def _quotient(x: Bounds, y: Bounds) -> Bounds:
    value = iv.div(x.value, y.value)

    def slopes() -> Interval | None:
        jx, jy = x.jacobian, y.jacobian
        n = x.trace.count
        ratio = value if len(value[0]) == 1 else (value[0][:n], value[1][:n])
        top = jx
        if jy is not None:
            moved = iv.mul((ratio[0].unsqueeze(-1), ratio[1].unsqueeze(-1)), jy)
            top = iv.neg(moved) if jx is None else iv.sub(jx, moved)
        below = y.box
        return None if top is None else iv.div(top, (below[0].unsqueeze(-1), below[1].unsqueeze(-1)))

    made = Bounds(x.trace, value, slopes, aligned(x, y))
    if y.constant and y.width == 1:
        if x.modulo is not None:
            made.modulo = _quotient(x.modulo, y)
        exact = x.total if x.width > 1 else x.form
        if exact is not None and float(y.lo) == float(y.hi) != 0:
            made.total = exact.scaled(_number(1 / float(y.lo)))
    return made if x.constant or y.constant else made.tightened()


OPERATIONS.update(
    {
        "add": add,
        "sub": subtract,
        "rsub": lambda trace, x, y: subtract(trace, y, x),
        "neg": negative,
        "mul": multiply,
        "div": divide,
        "rdiv": lambda trace, x, y: divide(trace, y, x),
    }
)
