"""W-R: nearby inputs get nearby weights, with a stated constant."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from trivium.axioms.base import Axiom
from trivium.errors import require
from trivium.simplex.geometry import hilbert
from trivium.simplex.rounding import LOG_SCALE, deep_slack, log_slack


@final
class Regularity(Axiom):
    """W-R with constant L, in nats per unit of the feature metric d.

    With constants per feature, pass Σ_f L_f·d_f as the distance and L = 1.

    >>> u, v = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[0.0, -0.3]], dtype=torch.float64)
    >>> Regularity(2.0).residual(u, v, torch.tensor([0.1], dtype=torch.float64)).round(decimals=12).tolist()
    [0.1]
    """

    id, name, statement = "W-R", "regularity", "d_H(w(u), w(u′)) − L·d(u, u′) ≤ 0"

    def __init__(self, constant: float = 1.0) -> None:
        require(0.0 <= constant < math.inf, "a regularity constant must be a finite number ≥ 0", constant)
        self.constant = constant

    def residual(self, log_u: Tensor, log_v: Tensor, distance: Tensor | float) -> Tensor:
        """d_H(w(u), w(u′)) − L·d [...] of two log weights [..., K] and the distance [...] of their inputs.

        The rounding of log weights below -16, which the tolerance does not know of, is taken off.
        """
        moved = hilbert(log_u.double(), log_v.double())
        allowed = torch.as_tensor(distance, dtype=torch.float64, device=moved.device)
        # The coarser of the two dtypes says how much of the residual may be rounding.
        coarser = max(log_u.dtype, log_v.dtype, key=lambda dtype: torch.finfo(dtype).eps)
        return (moved - self.constant * allowed - deep_slack(log_u) - deep_slack(log_v)).to(coarser)

    def tolerance(self, dtype: torch.dtype, num_teachers: int, scale: float = LOG_SCALE) -> float:
        """2·eps·(scale + 4) nats: four log weights of magnitude ``scale``; the normalizer cancels, and K with it."""
        return log_slack(dtype, scale)
