"""From one format to another, and to whole numbers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor

from trivium.certification.verify.bounds import Enclosure, Unsupported, relative_of
from trivium.certification.verify.interval import Interval, magnitude
from trivium.certification.verify.rounding import FLOATS, INTEGERS, KINDS, least_normal, own, unit

#: Formats that hold every number of another one.
_WIDER = {
    torch.float16: {torch.float32, torch.float64},
    torch.bfloat16: {torch.float32, torch.float64},
    torch.float32: {torch.float64},
    torch.float64: set[torch.dtype](),
}


def cast(x: Enclosure, dtype: torch.dtype) -> Enclosure:
    """Return the same real numbers in another floating format; whole numbers cut off; 0 and 1 of whether it is zero.

    Raises:
        Unsupported: a format that is not bounded.
    """
    if dtype == x.dtype:
        return x
    if dtype not in KINDS:
        raise Unsupported(f"a cast to {str(dtype).removeprefix('torch.')}")
    if dtype is torch.bool:
        return is_not_zero(x)
    if x.dtype in FLOATS:
        return stepped(x, torch.trunc, dtype) if dtype in INTEGERS else _between_floats(x, dtype)
    made = Enclosure(x.run, x.value, lambda: x.jacobian, x.shape, dtype, x.error)
    if dtype in FLOATS:
        made.error = made.error + _of_whole(x, dtype)
    made.nonnegative = x.nonnegative
    if x.total is not None:
        made.total = x.total.rounded(float((made.error - x.error).sum(-1).max()))
    made.check(f"a cast to {str(dtype).removeprefix('torch.')}")
    return made


def _of_whole(x: Enclosure, dtype: torch.dtype) -> Tensor:
    size = magnitude(x.wide_box)
    return torch.where(size <= 1 / unit(dtype) / 2, 0.0, own(dtype, size, underflow=False))


def _between_floats(x: Enclosure, dtype: torch.dtype) -> Enclosure:
    if dtype in _WIDER[x.dtype]:
        made = copy.copy(x.reshaped(x.shape))
        made._slopes, made._known, made._jacobian = (lambda: x.jacobian), False, None
        made.dtype = dtype
        # The same numbers; but what was computed of them in the coarser format stays a relation in that format.
        made.source = made.normalizer = made.extreme = made.lead = made.offset = None
        made.exponential = None
        made.modulo = None if x.modulo is None else _between_floats(x.modulo, dtype)
        return made
    amount = own(dtype, magnitude(x.wide_box))
    made = Enclosure(x.run, x.value, lambda: x.jacobian, x.shape, dtype, x.error + amount)
    made.scores, made.logarithm, made.dominant, made.nonnegative = x.scores, x.logarithm, x.dominant, x.nonnegative
    normal = x.wide_box[0] >= least_normal(dtype)
    made.relative = torch.where(normal, relative_of(x) + unit(dtype) * (1 + 1e-6), math.inf)
    if x.total is not None:
        made.total = x.total.rounded(float(amount.expand(len(amount), x.width).sum(-1).max()))
    if x.modulo is not None:
        made.modulo = _between_floats(x.modulo, dtype).rounded(amount)
    made.check(f"a cast to {str(dtype).removeprefix('torch.')}")
    return made


def stepped(x: Enclosure, step: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Enclosure:
    """Return an increasing step function; undecided, it may jump along every feature that it depends on."""
    low, high = x.wide
    value = step(low), step(high)
    n = x.run.count

    def slopes() -> Interval | None:
        decided = value[0] == value[1]
        return unknown((x,), ~(decided if len(decided) == 1 else decided[:n]))

    made = Enclosure(x.run, value, slopes, x.shape, dtype)
    made.nonnegative = bool((value[0] >= 0).all())
    made.check("rounding to whole numbers")
    return made


def is_not_zero(x: Enclosure) -> Enclosure:
    """Return whether a number is not zero, as 0, 1 or undecided."""
    low, high = x.wide
    true, false = (low > 0) | (high < 0), (low == 0) & (high == 0)
    return decided(true, false, (x,))


def decided(true: Tensor, false: Tensor, parts: tuple[Enclosure, ...]) -> Enclosure:
    """Return a comparison of ``parts`` that is surely true, surely false, or may be either, [2N or 1, M] each."""
    value = true.double(), (~false).double()
    n = parts[0].run.count

    def slopes() -> Interval | None:
        open_ = ~(true | false)
        return unknown(parts, open_ if len(open_) == 1 else open_[:n])

    shape = tuple(torch.broadcast_shapes(*(part.shape for part in parts)))
    made = Enclosure(parts[0].run, value, slopes, shape, torch.bool)
    made.nonnegative = True
    return made


def unknown(parts: tuple[Enclosure, ...], rows: Tensor) -> Interval | None:
    """Return slopes of a jump: anything, in the features that ``parts`` depend on, where ``rows`` [N or 1, M] holds;
    else 0.

    No error goes with it: which side rounding falls on is within the bounds, as long as both sides are.
    """
    slopes = [part.jacobian for part in parts if part.jacobian is not None]
    if not slopes:
        return None
    depends = ~((slopes[0][0] == 0) & (slopes[0][1] == 0))
    for low, high in slopes[1:]:
        depends = depends | ~((low == 0) & (high == 0))
    jump = torch.where(rows.unsqueeze(-1) & depends, math.inf, 0.0).to(torch.float64)
    return -jump, jump
