"""Order statistics along an axis of a row: sort, median, k-th value, top k."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trivium.certification.verify.bounds import Enclosure, Unsupported, join, select
from trivium.certification.verify.interval import Interval
from trivium.certification.verify.normalization import along, grouped, wrapped
from trivium.certification.verify.reductions import _hull_of, _numbers, reduced
from trivium.certification.verify.table import Call, entry

_ATEN = torch.ops.aten


def ordered(x: Enclosure, descending: bool) -> Enclosure:
    """Return the entries in order: each order statistic is increasing in every entry, and moves like one that it may
    be."""
    value = x.lo.sort(dim=-1, descending=descending).values, x.hi.sort(dim=-1, descending=descending).values

    made = Enclosure(x.run, value, lambda: _hull_of(x.jacobian, _touching(x.box, descending)), x.shape, x.dtype)
    made.error = x.error.amax(-1, keepdim=True).expand(-1, x.width)
    made.total, made.nonnegative = x.total, x.nonnegative
    return made


def _touching(box: Interval, descending: bool) -> Tensor:
    """Return which entry [·, M', M] may be which in order."""
    low, high = box
    first, last = low.sort(-1, descending=descending).values, high.sort(-1, descending=descending).values
    return (low.unsqueeze(1) <= last.unsqueeze(2)) & (high.unsqueeze(1) >= first.unsqueeze(2))


def _sorted(call: Call, x: Any, dim: int, descending: bool) -> tuple[Enclosure, Enclosure]:
    operand = call.lift(x, x.dtype)
    return (
        along(call, operand, dim, lambda part: ordered(part, descending)),
        along(call, operand, dim, lambda part: _numbers(part, _touching(part.wide, descending), part.shape)),
    )


@entry(_ATEN.sort.default)
def _sort(call: Call, x: Any, dim: int = -1, descending: bool = False) -> tuple[Enclosure, Enclosure]:
    return _sorted(call, x, dim, descending)


@entry(_ATEN.sort.stable)
def _sort_stable(
    call: Call, x: Any, stable: Any = None, dim: int = -1, descending: bool = False
) -> tuple[Enclosure, Enclosure]:
    return _sorted(call, x, dim, descending)


def _kth(call: Call, x: Any, dim: int, place: Callable[[Enclosure], int]) -> tuple[Enclosure, Enclosure]:
    operand = call.lift(x, x.dtype)

    def value(part: Enclosure) -> Enclosure:
        return select(ordered(part, False), torch.tensor([place(part)]), (1,))

    def index(part: Enclosure) -> Enclosure:
        numbers = _numbers(part, _touching(part.wide, False), part.shape)
        return select(numbers, torch.tensor([place(part)]), (1,))

    return reduced(call, operand, dim, value), reduced(call, operand, dim, index)


@entry(_ATEN.median.dim)
def _median(call: Call, x: Any, dim: int, keepdim: bool = False) -> tuple[Enclosure, Enclosure]:
    return _kth(call, x, dim, lambda part: (part.width - 1) // 2)


@entry(_ATEN.median.default)
def _median_all(call: Call, x: Any) -> Enclosure:
    operand = call.lift(x).reshaped((math.prod(x.shape),))
    return select(ordered(operand, False), torch.tensor([(operand.width - 1) // 2]), call.shape)


@entry(_ATEN.kthvalue.default)
def _kth_value(call: Call, x: Any, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Enclosure, Enclosure]:
    return _kth(call, x, dim, lambda part: k - 1)


@entry(_ATEN.topk.default)
def _topk(call: Call, x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Any, ...]:
    """Return the k largest or smallest values, in order; their places are not told."""
    if not sorted:
        raise Unsupported(f"{call.name} with sorted=False")
    operand = call.lift(x, x.dtype)

    def first(part: Enclosure) -> Enclosure:
        return select(ordered(part, largest), torch.arange(k), (k,))

    parts, _ = grouped(operand, wrapped(dim, len(operand.shape)))
    made = join(call.run, [first(part) for part in parts])
    return _back(made, operand.shape, dim, k), None


def _back(made: Enclosure, shape: tuple[int, ...], dim: int, k: int) -> Enclosure:
    """Vectors of k numbers, one after the other, along an axis of a shape."""
    axis = dim % len(shape)
    outer = [size for place, size in enumerate(shape) if place != axis]
    places = torch.arange(made.width).reshape(*outer, k).movedim(-1, axis)
    return select(made, places.flatten(), tuple(places.shape))
