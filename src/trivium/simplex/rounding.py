"""How far floating point may move a weight, stated once, and outward rounding for certified constants.

Two slacks serve the axioms, the conforming set and the monitor alike:

* :func:`weight_slack` for statements about weights w (W-N, W-B). A softmax over K scores in a dtype of
  machine epsilon ``eps`` has a relative error of at most (K + 3)·eps/2; storing log w adds
  Σ w·|log w|·eps/2 ≤ log K·eps/2.
* :func:`log_slack` for statements about differences of log weights (W-R, W-S), where the normalizer
  cancels: up to four stored values, each off by |log w|·eps/2, and the arithmetic of the scores themselves.

The remaining functions round bounds outward, so that sums and scalings of lower bounds stay lower bounds.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor

#: |log w| assumed where a caller names no scale: weights down to e^-16, about 1e-7.
LOG_SCALE = 16.0


def weight_slack(dtype: torch.dtype, num_teachers: int) -> float:
    """Return largest rounding error of a weight, or of a sum of weights: (K/2 + 6)·eps.

    >>> weight_slack(torch.float32, 16) < 2e-6 < 1e-5
    True
    """
    return (num_teachers / 2 + 6) * torch.finfo(dtype).eps


def log_slack(dtype: torch.dtype, scale: float = LOG_SCALE) -> float:
    """Return largest rounding error, in nats, of a difference of log weights of magnitude ≤ ``scale``: 2·eps·(scale +
    4)."""
    return 2 * torch.finfo(dtype).eps * (scale + 4)


def deep_slack(log_w: Tensor) -> Tensor:
    """Return what :func:`log_slack` at the default scale leaves out, per row [...] of log weights [..., K], in float64.

    2·eps·max(0, |log w| − 16) for the smallest positive weight: zero unless a weight is below e^-16, where stored log
    weights are so coarse (±3e-5 at log w = -700 in float32) that an exact tie or margin can look broken.
    """
    depth = log_w.double().abs().masked_fill(log_w.isinf(), 0.0).amax(dim=-1)
    return 2 * torch.finfo(log_w.dtype).eps * (depth - LOG_SCALE).clamp(min=0.0)


def add_down(x: Tensor, y: Tensor) -> Tensor:
    """Return a float64 lower bound of x + y, elementwise: the rounded sum, one ulp lower only where rounding went up.

    Knuth's two-sum gives the rounding error exactly, so sums without one (adding zero) are left untouched.
    """
    total = x + y
    part = total - x
    error = (x - (total - part)) + (y - part)
    return torch.where(error < 0, _next_down(total), total)


def scale_down(x: Tensor, factor: float) -> Tensor:
    """Return a float64 lower bound of factor·x, elementwise, for 0 ≤ factor < ∞; one ulp lower only where rounding went
    up."""
    flat = [_scaled_down(value, factor) for value in x.flatten().tolist()]
    return torch.tensor(flat, dtype=torch.float64).reshape(x.shape)


def _scaled_down(value: float, factor: float) -> float:
    if factor == 0.0:
        return 0.0  # also for -inf: a power of zero is uniform whatever it was taken of
    rounded = value * factor
    if math.isinf(rounded) or Fraction(value) * Fraction(factor) >= Fraction(rounded):
        return rounded
    return math.nextafter(rounded, -math.inf)


def up(value: float, steps: int = 4) -> float:
    """``value`` ≥ 0 raised by ``steps`` relative epsilons: an upper bound after that many float64 operations."""
    return value * (1.0 + steps * torch.finfo(torch.float64).eps)


def lower_log(x: Tensor) -> Tensor:
    """Lower bound of a logarithm whose argument went through at most eight float64 operations."""
    return x - 8 * torch.finfo(torch.float64).eps * (1 + x.abs())


def _next_down(x: Tensor) -> Tensor:
    return torch.nextafter(x, torch.full_like(x, -torch.inf))
