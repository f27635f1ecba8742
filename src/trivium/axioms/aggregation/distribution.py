"""A-D: a distribution comes out of distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from trivium.axioms.aggregation.pooling import Pooling
from trivium.axioms.transform import TransformAxiom
from trivium.simplex.rounding import LOG_SCALE, weight_slack


@final
class ConvexityPreservation(TransformAxiom):
    """A-D.

    A pool returns logarithms, so no entry can be negative; what can fail is the sum, and NaN.

    >>> doubled = lambda log_p, log_w: log_p[0] + log_p[1]
    >>> log_p = [torch.tensor([0.5, 0.5], dtype=torch.float64).log()] * 2
    >>> ConvexityPreservation().residual(doubled, log_p, torch.zeros(2)).round(decimals=12).item()
    0.5
    """

    id, name, statement = "A-D", "a distribution comes out", "max(|Σ_i q(i) − 1|, −min_i q(i)) ≤ 0"

    def residual(self, pool: Pooling, log_p: Sequence[Tensor], log_w: Tensor) -> Tensor:
        """max(|Σ q − 1|, −min q) [...]."""
        log_q = pool(log_p, log_w)
        q = log_q.double().exp()
        return torch.maximum((q.sum(dim=-1) - 1).abs(), -q.amin(dim=-1)).to(log_q.dtype)

    def tolerance(self, dtype: torch.dtype, entries: int, scale: float = LOG_SCALE) -> float:
        """(V/2 + 6)·eps, as for a softmax over V scores."""
        return weight_slack(dtype, entries)
