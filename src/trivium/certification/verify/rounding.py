"""The error that a number format adds: half ulps, where results vanish and overflow, and which formats are bounded
at all.

Beside the interval of a quantity in real arithmetic stands a bound on how far the same graph, run in the formats of its
nodes, may end from it. An operation adds at most a few half ulps of its result, each operand passes on its own error
times the steepest slope over all that the operand may have become, so the sum holds for errors of any size.
"""

from __future__ import annotations

import torch
from torch import Tensor

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
KINDS = (*FLOATS, *INTEGERS, torch.bool)
#: Half ulps that the vector libraries and GPU kernels behind a transcendental function may be off by.
LIBRARY = 8
_HALF_ULP = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}


def unit(dtype: torch.dtype) -> float:
    """Half an ulp, relative; zero for whole numbers, whose arithmetic is exact."""
    return _HALF_ULP.get(dtype, 0.0)


def least_normal(dtype: torch.dtype) -> float:
    """Below this a number loses digits, or is flushed to zero."""
    return float(torch.finfo(dtype).tiny)


def vanishing(dtype: torch.dtype) -> float:
    """Return what underflow may take from one result. Only float16 keeps its subnormals on every device and in every
    mode."""
    if dtype not in FLOATS:
        return 0.0
    return 2.0**-25 if dtype is torch.float16 else least_normal(dtype)


def largest(dtype: torch.dtype) -> float:
    """Beyond this a result overflows."""
    if dtype is torch.bool:
        return 1.0
    return float(torch.finfo(dtype).max if dtype in FLOATS else torch.iinfo(dtype).max)


def smallest(dtype: torch.dtype) -> float:
    """Return the other end of a format."""
    if dtype is torch.bool:
        return 0.0
    return float(torch.finfo(dtype).min if dtype in FLOATS else torch.iinfo(dtype).min)


def passed(factor: Tensor, error: Tensor) -> Tensor:
    """|slope|·error, rounded up; an operand without error passes nothing on, however steep the slope."""
    return torch.where(error == 0, 0.0, (factor * error * (1 + 1e-9)).nan_to_num(nan=torch.inf, posinf=torch.inf))


def own(dtype: torch.dtype, size: Tensor, units: float = 1.0, underflow: bool = True) -> Tensor:
    """Return what rounding a result of this magnitude adds."""
    return unit(dtype) * units * (1 + 1e-6) * size + (vanishing(dtype) if underflow else 0.0)
