"""Axioms of one weight vector: W-N normalization, W-P positivity, W-B bounded influence."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from trivium.axioms.base import Axiom
from trivium.errors import require
from trivium.simplex.rounding import LOG_SCALE, weight_slack


@final
class Normalization(Axiom):
    """W-N.

    >>> Normalization().residual(torch.tensor([[0.5, 0.4]], dtype=torch.float64).log()).round(decimals=12).tolist()
    [0.1]
    """

    id, name, statement = "W-N", "normalization", "|Σ_k w_k − 1| ≤ 0"

    def residual(self, log_w: Tensor) -> Tensor:
        """|Σ_k w_k − 1| [...] of log weights [..., K]."""
        return (log_w.double().exp().sum(dim=-1) - 1).abs().to(log_w.dtype)

    def tolerance(self, dtype: torch.dtype, num_teachers: int, scale: float = LOG_SCALE) -> float:
        """(K/2 + 6)·eps, see :func:`trivium.simplex.rounding.weight_slack`."""
        return weight_slack(dtype, num_teachers)


@final
class Positivity(Axiom):
    """W-P. Strict: a residual of zero is a breach."""

    id, name, statement = "W-P", "positivity", "−min_k w_k < 0"
    strict = True

    def residual(self, log_w: Tensor) -> Tensor:
        """−min_k w_k [...] of log weights [..., K].

        A finite log weight is a positive weight even where exp underflows; the residual is then minus the smallest
        normal number of the dtype, so its sign is right.
        """
        least = log_w.double().amin(dim=-1)
        size = least.exp().clamp(min=torch.finfo(log_w.dtype).tiny).masked_fill(least == -torch.inf, 0.0)
        return (-size).to(log_w.dtype)

    def tolerance(self, dtype: torch.dtype, num_teachers: int, scale: float = LOG_SCALE) -> float:
        """Zero: a sign does not depend on rounding."""
        return 0.0


@final
class BoundedInfluence(Axiom):
    """W-B with floor a and cap b, probabilities with 0 ≤ a ≤ b ≤ 1."""

    id, name, statement = "W-B", "bounded influence", "max(a − min_k w_k, max_k w_k − b) ≤ 0"

    def __init__(self, floor: float = 0.0, cap: float = 1.0) -> None:
        require(0.0 <= floor <= cap <= 1.0, "floor and cap must satisfy 0 ≤ floor ≤ cap ≤ 1", (floor, cap))
        self.floor, self.cap = floor, cap

    def residual(self, log_w: Tensor) -> Tensor:
        """max(a − min w, max w − b) [...] of log weights [..., K]."""
        w = log_w.double().exp()
        return torch.maximum(self.floor - w.amin(dim=-1), w.amax(dim=-1) - self.cap).to(log_w.dtype)

    def tolerance(self, dtype: torch.dtype, num_teachers: int, scale: float = LOG_SCALE) -> float:
        """(K/2 + 6)·eps: in float32 below 1e-5 up to K = 150."""
        return weight_slack(dtype, num_teachers)
