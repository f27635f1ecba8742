"""F-U and F-A: what an operator does at the two ends of its parameter."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from trivium.axioms.softening.softening import Softening
from trivium.axioms.transform import TransformAxiom
from trivium.simplex.rounding import LOG_SCALE, log_slack, weight_slack


@final
class SoftEnd(TransformAxiom):
    """F-U: at its softest parameter (T = ∞, ε = 1) the operator gives the uniform distribution over V.

    >>> SoftEnd().residual(lambda log_p, t: log_p, torch.tensor([0.75, 0.25]).double().log(), 1.0).item()
    0.25
    """

    id, name = "F-U", "uniform at the softest parameter"
    statement = "TV(q, uniform) ≤ 0 as T → ∞, ε → 1"

    def residual(self, soften: Softening, log_p: Tensor, parameter: float) -> Tensor:
        """TV(q, uniform) [...] at the softest parameter."""
        log_q = soften(log_p, parameter)
        q = log_q.double().exp()
        return (0.5 * (q - 1.0 / q.shape[-1]).abs().sum(dim=-1)).to(log_q.dtype)

    def tolerance(self, dtype: torch.dtype, entries: int, scale: float = LOG_SCALE) -> float:
        """(V/2 + 6)·eps + 2·eps·(scale + 4)."""
        return weight_slack(dtype, entries) + log_slack(dtype, scale)


@final
class SharpEnd(TransformAxiom):
    """F-A: at its sharpest parameter (T = 0) the operator gives the most probable entries equal shares of all mass.

    >>> SharpEnd().residual(lambda log_p, t: log_p, torch.tensor([0.5, 0.25, 0.25]).double().log(), 0.0).item()
    0.5
    """

    id, name = "F-A", "argmax, ties shared, at the sharpest parameter"
    statement = "TV(q, uniform on argmax p) ≤ 0 as T → 0"

    def residual(self, soften: Softening, log_p: Tensor, parameter: float) -> Tensor:
        """TV(q, uniform on argmax p) [...] at the sharpest parameter."""
        log_q = soften(log_p, parameter)
        top = (log_p == log_p.amax(dim=-1, keepdim=True)).double()
        peak = top / top.sum(dim=-1, keepdim=True)
        return (0.5 * (log_q.double().exp() - peak).abs().sum(dim=-1)).to(log_q.dtype)

    def tolerance(self, dtype: torch.dtype, entries: int, scale: float = LOG_SCALE) -> float:
        """(V/2 + 6)·eps + 2·eps·(scale + 4)."""
        return weight_slack(dtype, entries) + log_slack(dtype, scale)
