"""What float32 adds: a first-order bound on rounding, carried as one more column of slopes.

An operation that rounds moves its result by at most a few half ulps. Slopes with respect to that movement obey the same
chain rule as those with respect to a coordinate, and intervals [−e, e] add up as absolute errors do, so the last column
of a Jacobian bounds how far the same computation in float32 ends from that in real numbers, but for products of errors.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from trivium.certify.verify.form import Form
from trivium.certify.verify.interval import Interval, magnitude

#: Half an ulp of float32, relative.
UNIT = 2.0**-24
_EXACT = """
neg abs relu getitem stack cat unsqueeze squeeze clone detach contiguous to type_as float double
zeros_like ones_like flip expand_as logical_and logical_or logical_not amax amin max min sort topk
median gt ge lt le full_like
"""
_COMPOSED = "mean std var lerp silu softsign rsqrt softmin log2 log10 rpow"
#: These only round their constants.
_CHOICES = frozenset(["maximum", "minimum", "clamp", "clamp_min", "clamp_max", "hardtanh", "where", "masked_fill"])
#: Operations that do not round, or whose parts are operations themselves.
FREE = frozenset((_EXACT + " " + _COMPOSED).split())


def rounding(name: str, result: Interval, operand: Interval, constants: float) -> Tensor:
    """How far one operation's float32 result may be from that of exact arithmetic on the same operands, [N or 1, M].

    Args:
        result, operand: over the sub-boxes, of the operation and of its first operand.
        constants: the largest magnitude among its constant operands, which are rounded as well.
    """
    size, width = magnitude(result), operand[0].shape[-1]
    if name in _CHOICES:
        return torch.full((1, 1), UNIT * constants, dtype=torch.float64)
    if name in ("sum", "linear", "matmul", "cumsum"):
        return UNIT * (width + 2) * magnitude(operand).sum(-1, keepdim=True) * max(1.0, constants)
    if name == "softmax":  # the error of s − max s is weighed by e^(s − max s): w·|log w| ≤ 1/e
        return UNIT * ((width + 5 + math.log(width)) * size + 0.4)
    if name in ("log_softmax", "logsumexp"):
        return UNIT * (2 * size + 2 * magnitude(operand).amax(-1, keepdim=True) + width + 8)
    if name in ("add", "sub", "rsub"):
        return UNIT * (size + constants)
    return UNIT * (width + 4 if name in ("div", "rdiv", "norm", "vector_norm") else 4) * size


def of_total(name: str, total: Form, width: int, amount: Tensor, constants: float) -> float:
    """What one operation's rounding adds to a row sum: errors of the scores of a softmax do not show there."""
    if not total.exact:
        return float(amount.expand(len(amount), width).sum(-1).max())
    own = width * constants if name in ("add", "sub", "rsub") else 0.0
    return UNIT * ((width + 8) * abs(total.constant) + own)


def widened(slopes: Interval | None, amount: Tensor) -> Interval | None:
    """Slopes [N, M, D + 1] with a rounding of ±amount [N or 1, M] more in their last column."""
    if slopes is None:
        return None
    extra = torch.zeros_like(slopes[0])
    extra[..., -1] = amount
    return slopes[0] - extra, slopes[1] + extra


def magnitude_of(constants: Any) -> float:
    """The largest absolute value of the numbers and tensors among nested arguments; 0 where there is none."""
    if isinstance(constants, bool):
        return 0.0
    if isinstance(constants, int | float):
        return abs(float(constants))
    if isinstance(constants, Tensor):
        return float(constants.detach().abs().max()) if constants.numel() else 0.0
    items = constants if isinstance(constants, tuple | list) else ()
    return max((magnitude_of(item) for item in items), default=0.0)
