"""Constants among Bounds, and which axes go together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trivium.certify.verify.bounds import Bounds
from trivium.certify.verify.trace import Trace, Unsupported


def lift(trace: Trace, value: Any) -> Bounds:
    """A number or a tensor of shape [] or [M] as Bounds."""
    if isinstance(value, Bounds):
        return value
    if isinstance(value, bool | int | float):
        value = torch.tensor(float(value), dtype=torch.float64)
    if not isinstance(value, Tensor):
        raise Unsupported(f"a {type(value).__name__} among the arguments of an operation")
    if value.ndim > 1 or value.is_complex():
        raise Unsupported(f"a constant of shape {tuple(value.shape)}: it must be [] or [K]")
    exact = value.detach().to(torch.float64, copy=True).reshape(1, -1)
    made = Bounds(trace, (exact, exact), lambda: None, True if value.ndim else None)
    made.boolean = value.dtype is torch.bool
    if not bool(exact.isfinite().all()):
        raise Unsupported("a constant that is not finite")
    return made


def aligned(*parts: Bounds) -> bool | None:
    """The ``axis`` of an elementwise operation on them."""
    axes = {part.axis for part in parts if part.axis is not None}
    if len(axes) > 1:
        raise Unsupported("one number a row is combined with K numbers a row: keep the axis with keepdim=True")
    return axes.pop() if axes else None
