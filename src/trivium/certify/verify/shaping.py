"""Selection, stacking and casts: nothing here computes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trivium.certify.verify.bounds import OPERATIONS, Bounds, apply
from trivium.certify.verify.interval import Interval
from trivium.certify.verify.lifting import lift
from trivium.certify.verify.trace import Trace, Unsupported

_FLOATS = (torch.float32, torch.float64)


def select(x: Bounds, places: list[int], axis: bool | None) -> Bounds:
    """The entries at ``places`` of the last axis."""
    if places == list(range(x.width)) and axis is x.axis:
        return x

    def slopes() -> Interval | None:
        inner = x.jacobian
        return None if inner is None else (inner[0][:, places], inner[1][:, places])

    made = Bounds(x.trace, (x.lo[:, places], x.hi[:, places]), slopes, axis)
    made.boolean = x.boolean
    if x.width == 1:
        made.total = x.form if len(places) == 1 else None
    return made


def getitem(trace: Trace, x: Any, key: Any) -> Bounds:
    """``x[..., i]``, ``x[..., i:j]``, ``x[..., [i, j]]``, and ``x[..., None]`` of one number a row."""
    if not isinstance(x, Bounds):
        raise Unsupported("a constant is indexed by a feature")
    if not isinstance(key, tuple) or len(key) < 2 or key[0] is not Ellipsis:
        raise Unsupported("indexing that may reach the rows: write x[..., i]")
    selected = x
    for part in key[1:]:
        if part is None and selected.axis is False:
            selected = select(selected, [0], True)
        elif part is not None and selected.axis:
            selected = _index(selected, part)
        else:
            raise Unsupported("indexing of another axis than the last")
    return selected


def _index(x: Bounds, part: Any) -> Bounds:
    every = list(range(x.width))
    if isinstance(part, slice):
        return select(x, every[part], True)
    if isinstance(part, Tensor) and part.ndim <= 1 and part.dtype in (torch.int64, torch.int32, torch.bool):
        part = part.nonzero().flatten().tolist() if part.dtype is torch.bool else part.tolist()
    if isinstance(part, int) and not isinstance(part, bool):
        return select(x, [every[part]], False)
    if isinstance(part, list) and all(isinstance(place, int) and not isinstance(place, bool) for place in part):
        return select(x, [every[place] for place in part], True)
    raise Unsupported("indexing by anything but constants")


def _side_by_side(trace: Trace, parts: Any, axis: bool, name: str) -> Bounds:
    bounds = [lift(trace, part) for part in parts]
    if any(part.axis is not axis for part in bounds):
        raise Unsupported(f"{name} of tensors whose last axis differs")
    tall = max(len(part.lo) for part in bounds)
    widths = [part.width for part in bounds]

    def slopes() -> Interval | None:
        inner = [part.jacobian for part in bounds]
        if all(steep is None for steep in inner):
            return None
        zeros = [torch.zeros(1, width, trace.columns, dtype=torch.float64) for width in widths]
        ends = []
        for end in (0, 1):
            steep = [zero if j is None else j[end] for j, zero in zip(inner, zeros, strict=True)]
            ends.append(torch.cat([part.expand(trace.count, -1, -1) for part in steep], dim=1))
        return ends[0], ends[1]

    low = torch.cat([part.lo.expand(tall, -1) for part in bounds], dim=1)
    high = torch.cat([part.hi.expand(tall, -1) for part in bounds], dim=1)
    made = Bounds(trace, (low, high), slopes, True)
    if all(part.width == 1 or part.total is not None or part.constant for part in bounds):
        made.total = bounds[0].form
        for part in bounds[1:]:
            made.total = made.total + part.form
    return made


def stack(trace: Trace, tensors: Any, dim: int = 0) -> Bounds:
    """One number a row each, side by side along a new last axis."""
    if dim != -1:
        raise Unsupported("stack along an axis that may be that of the rows: give dim=-1")
    return _side_by_side(trace, tensors, False, "stack")


def cat(trace: Trace, tensors: Any, dim: int = 0) -> Bounds:
    """Side by side along the last axis."""
    if dim != -1:
        raise Unsupported("cat along an axis that may be that of the rows: give dim=-1")
    return _side_by_side(trace, tensors, True, "cat")


def unsqueeze(trace: Trace, x: Any, dim: int) -> Bounds:
    """A last axis of one for one number a row."""
    if dim != -1 or lift(trace, x).axis is not False:
        raise Unsupported("unsqueeze of a tensor that keeps its last axis")
    return select(x, [0], True)


def squeeze(trace: Trace, x: Any, dim: Any = None) -> Bounds:
    """Drops a last axis of one."""
    x = lift(trace, x)
    if dim != -1 or not x.axis:
        raise Unsupported("squeeze without dim=-1")
    return select(x, [0], False) if x.width == 1 else x


def same(trace: Trace, x: Any, *options: Any, **more: Any) -> Bounds:
    """A copy."""
    return lift(trace, x)


def cast(trace: Trace, x: Any, *options: Any, **more: Any) -> Any:
    """To a real dtype, or that of another tensor: the same real numbers."""
    wanted = [o for o in (*options, *more.values()) if isinstance(o, torch.dtype | Tensor | Bounds)]
    for option in wanted:
        dtype = option if isinstance(option, torch.dtype) else option.dtype
        if dtype not in _FLOATS:
            raise Unsupported(f"a cast to {dtype}")
    if isinstance(x, Bounds):
        made = select(x, list(range(x.width)), x.axis)
        return made if not x.boolean else _number(made)
    return x.to(trace.dtype)


def _number(x: Bounds) -> Bounds:
    return Bounds(x.trace, x.value, lambda: x.jacobian, x.axis)


def constant_like(number: float | None) -> Any:
    """zeros_like, ones_like, full_like."""

    def operation(trace: Trace, x: Any, *fill: Any, **more: Any) -> Bounds:
        x = lift(trace, x)
        value = number if number is not None else (fill[0] if fill else more["fill_value"])
        if isinstance(value, Bounds):
            raise Unsupported("full_like with a feature")
        made = lift(trace, torch.full((x.width,), float(value), dtype=torch.float64))
        made.axis = x.axis
        return made

    return operation


def flip(trace: Trace, x: Any, *dims: Any) -> Bounds:
    """The last axis reversed."""
    x = lift(trace, x)
    if dims not in ((-1,), ([-1],), ((-1,),)) or not x.axis:
        raise Unsupported("flip of another axis than the last")
    made = select(x, list(reversed(range(x.width))), True)
    made.total = x.total
    return made


def expand_as(trace: Trace, x: Any, other: Any) -> Bounds:
    """Broadcast along the last axis."""
    x, other = lift(trace, x), lift(trace, other)
    if x.axis is False or (x.width != other.width and x.width != 1) or not other.axis:
        raise Unsupported("expand_as along another axis than the last")
    return select(x, [0] * other.width if x.width == 1 else list(range(x.width)), True)


def lerp(trace: Trace, start: Any, end: Any, weight: Any) -> Bounds:
    """start + weight·(end − start)."""
    result: Bounds = apply("add", (start, apply("mul", (apply("sub", (end, start), {}), weight), {})), {})
    return result


OPERATIONS.update(
    {
        "getitem": getitem,
        "stack": stack,
        "cat": cat,
        "unsqueeze": unsqueeze,
        "squeeze": squeeze,
        "clone": same,
        "detach": same,
        "contiguous": same,
        "to": cast,
        "type_as": cast,
        "float": lambda trace, x: cast(trace, x, torch.float32),
        "double": lambda trace, x: cast(trace, x, torch.float64),
        "zeros_like": constant_like(0.0),
        "ones_like": constant_like(1.0),
        "full_like": constant_like(None),
        "flip": flip,
        "expand_as": expand_as,
        "lerp": lerp,
        "masked_fill": lambda trace, x, mask, value: apply("where", (mask, value, x), {}),
        "new_tensor": lambda trace, x, data, **more: torch.tensor(data, dtype=trace.dtype),
    }
)
