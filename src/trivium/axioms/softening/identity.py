"""F-I: at its neutral parameter the operator changes nothing."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from trivium.axioms.softening.softening import Softening
from trivium.axioms.transform import TransformAxiom
from trivium.simplex.geometry import total_variation
from trivium.simplex.rounding import LOG_SCALE, log_slack, weight_slack


@final
class NeutralIdentity(TransformAxiom):
    """F-I: q = p at T = 1, or ε = 0.

    >>> halve = lambda log_p, t: torch.log_softmax(log_p / 2, dim=-1)
    >>> NeutralIdentity().residual(halve, torch.tensor([0.8, 0.2]).double().log(), 1.0).round(decimals=4).item()
    0.1333
    """

    id, name = "F-I", "identity at the neutral parameter"
    statement = "TV(q, p) ≤ 0 at T = 1, ε = 0"

    def residual(self, soften: Softening, log_p: Tensor, parameter: float) -> Tensor:
        """TV(q, p) [...] at the neutral parameter."""
        log_q = soften(log_p, parameter)
        return total_variation(log_q.double(), log_p.double()).to(log_q.dtype)

    def tolerance(self, dtype: torch.dtype, entries: int, scale: float = LOG_SCALE) -> float:
        """(V/2 + 6)·eps + 2·eps·(scale + 4)."""
        return weight_slack(dtype, entries) + log_slack(dtype, scale)
