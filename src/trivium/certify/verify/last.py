"""Reductions, order and selection along the last axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trivium.certify.verify import interval as iv
from trivium.certify.verify.bounds import OPERATIONS, Bounds, apply
from trivium.certify.verify.interval import Interval, lower, upper
from trivium.certify.verify.lifting import lift
from trivium.certify.verify.simplex import last_axis
from trivium.certify.verify.trace import Trace, Unsupported


class Indices:
    """Where something was found: it jumps, so it cannot be used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise Unsupported("indices that depend on the features are used")


class Found(NamedTuple):
    """What torch returns of ``max(dim)``, ``sort`` and the like."""

    values: Bounds
    indices: Indices


def linear_map(x: Bounds, matrix: Tensor, axis: bool) -> Bounds:
    """x @ C for a constant C [M, M']."""

    def slopes() -> Interval | None:
        return None if x.jacobian is None else iv.linear(x.jacobian, matrix, dim=1)

    made = Bounds(x.trace, iv.linear(x.value, matrix), slopes, axis)
    return made if x.constant else made.tightened()


def sum_(trace: Trace, x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Bounds:
    """Σ_k x_k."""
    x = lift(trace, x)
    last_axis(x, dim, "sum")
    made = linear_map(x, torch.ones(x.width, 1, dtype=torch.float64), keepdim)
    made.source = x
    if x.total is not None:
        made.total = x.total
        if x.total.exact:
            reach = x.total.distance(x.total.constant, {})
            made.lo = made.lo.clamp(min=math.nextafter(x.total.constant - reach, -math.inf))
            made.hi = made.hi.clamp(max=math.nextafter(x.total.constant + reach, math.inf))
    return made


def mean(trace: Trace, x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Bounds:
    """Σ_k x_k / K."""
    x = lift(trace, x)
    result: Bounds = apply("div", (apply("sum", (x, dim, keepdim), {}), x.width), {})
    return result


def _extreme(trace: Trace, x: Any, dim: Any, keepdim: bool, largest: bool, name: str) -> Bounds:
    x = lift(trace, x)
    last_axis(x, dim, name)
    reduce: Callable[..., Tensor] = torch.amax if largest else torch.amin
    value = reduce(x.lo, -1, keepdim=True), reduce(x.hi, -1, keepdim=True)

    def slopes() -> Interval | None:
        low, high = x.box
        candidate = high >= low.amax(-1, keepdim=True) if largest else low <= high.amin(-1, keepdim=True)
        return _hull_of(x.jacobian, candidate.unsqueeze(1))

    made = Bounds(trace, value, slopes, keepdim)
    made.extreme = (x.number, largest)
    return made


def _hull_of(slopes: Interval | None, candidates: Tensor) -> Interval | None:
    """Hull [N, M', D] of the slopes [N, M, D] of the candidates [N, M', M]."""
    if slopes is None:
        return None
    out = ~candidates.unsqueeze(-1)
    return (
        slopes[0].unsqueeze(1).masked_fill(out, math.inf).amin(dim=2),
        slopes[1].unsqueeze(1).masked_fill(out, -math.inf).amax(dim=2),
    )


def _reducer(name: str, largest: bool) -> Callable[..., Any]:
    def operation(trace: Trace, x: Any, dim: Any = None, keepdim: bool = False) -> Any:
        if isinstance(dim, Bounds | Tensor):  # torch.max(x, y)
            return apply("maximum" if largest else "minimum", (x, dim), {})
        found = _extreme(trace, x, dim, keepdim, largest, name)
        return found if name.startswith("a") else Found(found, Indices())

    return operation


def ordered(x: Bounds, descending: bool) -> Bounds:
    """The entries in order: each order statistic is increasing in every entry, and moves like one that it may be."""
    value = x.lo.sort(dim=-1, descending=descending).values, x.hi.sort(dim=-1, descending=descending).values

    def slopes() -> Interval | None:
        low, high = x.box
        first, last = low.sort(-1, descending=descending).values, high.sort(-1, descending=descending).values
        touches = (low.unsqueeze(1) <= last.unsqueeze(2)) & (high.unsqueeze(1) >= first.unsqueeze(2))
        return _hull_of(x.jacobian, touches)

    made = Bounds(x.trace, value, slopes, True)
    made.total = x.total
    return made


def sort(trace: Trace, x: Any, dim: int = -1, descending: bool = False, stable: Any = None) -> Found:
    """Sorted values."""
    x = lift(trace, x)
    last_axis(x, dim, "sort")
    return Found(ordered(x, descending), Indices())


def topk(trace: Trace, x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Found:
    """The k largest or smallest values, in order."""
    x = lift(trace, x)
    last_axis(x, dim, "topk")
    return Found(apply("getitem", (ordered(x, largest), (..., slice(0, k))), {}), Indices())


def median(trace: Trace, x: Any, dim: Any = None, keepdim: bool = False) -> Found:
    """The lower median."""
    x = lift(trace, x)
    last_axis(x, dim, "median")
    middle = (x.width - 1) // 2
    place = slice(middle, middle + 1) if keepdim else middle
    return Found(apply("getitem", (ordered(x, False), (..., place)), {}), Indices())


def norm(trace: Trace, x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Bounds:
    """(Σ x²)^{1/2} or Σ |x|. Where the former may vanish its slopes are those along some unit vector."""
    x = lift(trace, x)
    last_axis(x, dim, "norm")
    if p == 1:
        result: Bounds = apply("sum", (apply("abs", (x,), {}), -1, keepdim), {})
        return result
    if p not in (2, "fro", None):
        raise Unsupported(f"norm of order {p}")
    squares: Bounds = apply("sum", (apply("square", (x,), {}), -1, True), {})
    low, high = squares.lo.clamp(min=0.0).sqrt(), squares.hi.sqrt()
    value = lower(low).clamp_min(0.0), upper(high)

    def slopes() -> Interval | None:
        inner = x.jacobian
        if inner is None:
            return None
        n = trace.count
        unit = iv.div(x.box, (value[0][:n], value[1][:n]))
        unit = unit[0].clamp(min=-1.0), unit[1].clamp(max=1.0)
        steep = iv.total(iv.mul((unit[0].unsqueeze(-1), unit[1].unsqueeze(-1)), inner), 1)
        return steep[0].unsqueeze(1), steep[1].unsqueeze(1)

    made = Bounds(trace, value, slopes, keepdim)
    return made if x.constant else made.tightened()


def deviation(
    trace: Trace, x: Any, dim: Any = None, unbiased: Any = None, *, correction: Any = None, keepdim: bool = False
) -> Bounds:
    """Standard deviation, as ‖x − mean‖/√(K − correction)."""
    x = lift(trace, x)
    off, divisor = _centred(x, dim, unbiased, correction, "std")
    length = apply("norm", (off, 2, -1, keepdim), {})
    result: Bounds = apply("div", (length, apply("sqrt", (lift(trace, divisor),), {})), {})
    return result


def variance(
    trace: Trace, x: Any, dim: Any = None, unbiased: Any = None, *, correction: Any = None, keepdim: bool = False
) -> Bounds:
    """Σ (x − mean)²/(K − correction)."""
    x = lift(trace, x)
    off, divisor = _centred(x, dim, unbiased, correction, "var")
    result: Bounds = apply("div", (apply("sum", (apply("square", (off,), {}), -1, keepdim), {}), divisor), {})
    return result


def _centred(x: Bounds, dim: Any, unbiased: Any, correction: Any, name: str) -> tuple[Bounds, float]:
    last_axis(x, dim, name)
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    if x.width - correction <= 0:
        raise Unsupported(f"{name} of {x.width} numbers with correction {correction}, which is not a number")
    # Centring is linear: a matrix with an exact zero row sum up to one rounding, which the slack of linear() holds.
    return apply("sub", (x, apply("mean", (x, -1, True), {})), {}), float(x.width - correction)


def cumsum(trace: Trace, x: Any, dim: Any = None, dtype: Any = None) -> Bounds:
    """Σ_{j ≤ k} x_j."""
    x = lift(trace, x)
    last_axis(x, dim, "cumsum")
    return linear_map(x, torch.ones(x.width, x.width, dtype=torch.float64).triu(), True)


def affine(trace: Trace, x: Any, weight: Any, bias: Any = None) -> Bounds:
    """x·Wᵀ + b with constant W [M', M]."""
    if not isinstance(x, Bounds) or not isinstance(weight, Tensor) or weight.ndim != 2 or not x.axis:
        raise Unsupported("linear() with anything but a constant matrix on the last axis")
    made = linear_map(x, weight.detach().to(torch.float64, copy=True).T, True)
    return made if bias is None else apply("add", (made, bias), {})


def matmul(trace: Trace, x: Any, y: Any) -> Bounds:
    """x @ C with a constant C [M, M']; with a vector it is one number a row."""
    if not isinstance(x, Bounds) or not isinstance(y, Tensor) or y.ndim not in (1, 2) or not x.axis:
        raise Unsupported("matmul with anything but a constant matrix on the right")
    matrix = y.detach().to(torch.float64, copy=True)
    return linear_map(x, matrix if y.ndim == 2 else matrix.unsqueeze(1), y.ndim == 2)


OPERATIONS.update(
    {
        "sum": sum_,
        "mean": mean,
        "amax": _reducer("amax", True),
        "amin": _reducer("amin", False),
        "max": _reducer("max", True),
        "min": _reducer("min", False),
        "sort": sort,
        "topk": topk,
        "median": median,
        "norm": norm,
        "vector_norm": lambda trace, x, ord=2, dim=None, keepdim=False: norm(trace, x, ord, dim, keepdim),
        "std": deviation,
        "var": variance,
        "cumsum": cumsum,
        "linear": affine,
        "matmul": matmul,
    }
)
