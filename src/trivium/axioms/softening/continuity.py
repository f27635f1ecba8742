"""F-C: nearby distributions and parameters are softened to nearby ones."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from trivium.axioms.softening.softening import Softening, SofteningModulus
from trivium.axioms.transform import TransformAxiom
from trivium.simplex.geometry import total_variation
from trivium.simplex.rounding import LOG_SCALE, log_slack, weight_slack


@final
class SofteningContinuity(TransformAxiom):
    """F-C for an operator that states a modulus of continuity, as A-C does for a pool."""

    id, name = "F-C", "continuity"
    statement = "TV(q, q′) − modulus(p, t; p′, t′) ≤ 0"

    def __init__(self, modulus: SofteningModulus) -> None:
        self.modulus = modulus

    def residual(
        self, soften: Softening, log_p: Tensor, parameter: float, *, moved_log_p: Tensor, moved_parameter: float
    ) -> Tensor:
        """TV(q, q′) − modulus [...]."""
        one, other = soften(log_p, parameter), soften(moved_log_p, moved_parameter)
        allowed = self.modulus(log_p.double(), parameter, moved_log_p.double(), moved_parameter)
        return (total_variation(one.double(), other.double()) - allowed).to(one.dtype)

    def tolerance(self, dtype: torch.dtype, entries: int, scale: float = LOG_SCALE) -> float:
        """(V/2 + 6)·eps + 2·eps·(scale + 4)."""
        return weight_slack(dtype, entries) + log_slack(dtype, scale)
