"""Interval arithmetic on float64 tensors, rounded outward.

An interval is a pair (lower, upper) of tensors. Lower bounds lie in [−∞, max], upper bounds in [−max, ∞], max the
largest finite float64: a bound on the far side that overflowed says only "beyond max". A result that is not a number
(∞ − ∞, an argument outside of the domain) becomes the whole line.

One IEEE operation is off by at most half an ulp, which one relative epsilon covers. Transcendental functions get
:data:`ULPS`, several times the error that the vector libraries behind torch state for them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Interval = tuple[Tensor, Tensor]

EPS = 2.0**-52
ULPS = 16
LARGEST = torch.finfo(torch.float64).max
#: Taken off where a result may have underflowed. A subnormal would do, but arithmetic with those is slow.
NEGLIGIBLE = 1e-300


def lower(x: Tensor, ulps: int = 1, underflow: bool = True) -> Tensor:
    """Return a lower bound of numbers that were rounded to ``x`` with an error of up to ``ulps`` ulps.

    ``underflow``: whether a result may have been flushed to zero or to a subnormal, which sums never are.
    """
    y = torch.where(x > 0, x * (1 - ulps * EPS), x * (1 + ulps * EPS))
    if underflow:
        y = y - NEGLIGIBLE
    return y.nan_to_num_(nan=-math.inf, posinf=LARGEST, neginf=-math.inf)


def upper(x: Tensor, ulps: int = 1, underflow: bool = True) -> Tensor:
    """Return the mirror image of :func:`lower`."""
    y = torch.where(x > 0, x * (1 + ulps * EPS), x * (1 - ulps * EPS))
    if underflow:
        y = y + NEGLIGIBLE
    return y.nan_to_num_(nan=math.inf, posinf=math.inf, neginf=-LARGEST)


def add(x: Interval, y: Interval) -> Interval:
    """x + y; adding an exact zero is exact."""
    return lower(x[0] + y[0], underflow=False), upper(x[1] + y[1], underflow=False)


def sub(x: Interval, y: Interval) -> Interval:
    """x − y of two unrelated quantities."""
    return lower(x[0] - y[1], underflow=False), upper(x[1] - y[0], underflow=False)


def neg(x: Interval) -> Interval:
    """−x."""
    return -x[1], -x[0]


def mul(x: Interval, y: Interval) -> Interval:
    """x·y, with 0·∞ = 0: an infinite bound is the limit of finite ones. A factor [0, 0] gives exactly [0, 0]."""
    corners = [(a * b).nan_to_num_(nan=0.0, posinf=math.inf, neginf=-math.inf) for a in x for b in y]
    zero = ((x[0] == 0) & (x[1] == 0)) | ((y[0] == 0) & (y[1] == 0))
    low = torch.minimum(torch.minimum(corners[0], corners[1]), torch.minimum(corners[2], corners[3]))
    high = torch.maximum(torch.maximum(corners[0], corners[1]), torch.maximum(corners[2], corners[3]))
    return lower(low).masked_fill_(zero, 0.0), upper(high).masked_fill_(zero, 0.0)


def inverse(y: Interval) -> Interval:
    """1/y; the whole line where y may be zero."""
    safe = (y[0] > 0) | (y[1] < 0)
    low, high = lower(1 / y[1]), upper(1 / y[0])
    return torch.where(safe, low, -math.inf), torch.where(safe, high, math.inf)


def div(x: Interval, y: Interval) -> Interval:
    """x/y; the whole line where y may be zero."""
    safe = (y[0] > 0) | (y[1] < 0)
    corners = [(a / b).nan_to_num_(nan=0.0, posinf=math.inf, neginf=-math.inf) for a in x for b in y]
    low = lower(torch.stack(torch.broadcast_tensors(*corners)).amin(dim=0))
    high = upper(torch.stack(torch.broadcast_tensors(*corners)).amax(dim=0))
    return torch.where(safe, low, -math.inf), torch.where(safe, high, math.inf)


def total(x: Interval, dim: int) -> Interval:
    """Σ x along an axis of n: n − 1 additions are off by at most (n − 1)·eps·Σ|x|."""
    n = x[0].shape[dim]
    low, high = x[0].sum(dim=dim), x[1].sum(dim=dim)
    if n == 1:
        return low, high
    slack_low, slack_high = (n * EPS * bound.abs().sum(dim=dim) for bound in x)
    return lower(low - slack_low, underflow=False), upper(high + slack_high, underflow=False)


def linear(x: Interval, matrix: Tensor, dim: int = -1) -> Interval:
    """Σ_m x_m·C[m, m'] along the axis ``dim`` of M, for an exact matrix C [M, M']."""
    low, high = (bound.movedim(dim, -1) for bound in x)
    positive, negative = matrix.clamp(min=0.0), matrix.clamp(max=0.0)
    below, above = low @ positive + high @ negative, high @ positive + low @ negative
    reach = torch.maximum(low.abs(), high.abs()) @ matrix.abs()
    slack = (matrix.shape[0] + 2) * EPS * reach + NEGLIGIBLE
    slack = torch.where(reach == 0, 0.0, slack)
    below, above = lower(below - slack, underflow=False), upper(above + slack, underflow=False)
    return below.movedim(-1, dim), above.movedim(-1, dim)


def hull(x: Interval, y: Interval) -> Interval:
    """Return the least interval that holds both."""
    return torch.minimum(x[0], y[0]), torch.maximum(x[1], y[1])


def meet(x: Interval, y: Interval) -> Interval:
    """Return what two enclosures of one quantity leave."""
    return torch.maximum(x[0], y[0]), torch.minimum(x[1], y[1])


def magnitude(x: Interval) -> Tensor:
    """max |x|."""
    return torch.maximum(x[0].abs(), x[1].abs())


def mignitude(x: Interval) -> Tensor:
    """min |x|."""
    return torch.maximum(x[0], -x[1]).clamp(min=0.0)


def mean_value(centre: Interval, jacobian: Interval, radius: Tensor) -> Interval:
    """Enclosure [N, M] from values at the centres [N, M], slopes [N, M, D] and half-widths [N, D]."""
    reach = (magnitude(jacobian) * radius.unsqueeze(1)).nan_to_num_(nan=0.0, posinf=math.inf)
    reach = total((reach, upper(reach)), -1)[1]
    return add(centre, (-reach, reach))
