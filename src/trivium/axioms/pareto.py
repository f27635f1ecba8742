"""W-C: to first order, no teacher's (or task's) loss rises along the weighted gradient."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from trivium.axioms.base import Axiom
from trivium.errors import require
from trivium.simplex.rounding import LOG_SCALE, weight_slack


@final
class ParetoCompatibility(Axiom):
    """W-C, at the task scale. It takes weights, not their logs: effective weights may be zero or negative.

    >>> gradients = torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=torch.float64)
    >>> ParetoCompatibility().residual(torch.tensor([0.9, 0.1], dtype=torch.float64), gradients).item()
    0.775
    """

    id, name, statement = "W-C", "Pareto compatibility", "−min_k ⟨g_k, Σ_j w_j g_j⟩ ≤ 0"

    def residual(self, weights: Tensor, gradients: Tensor) -> Tensor:
        """−min_k ⟨g_k, Σ_j w_j g_j⟩ [...] of weights [..., K] and gradients [..., K, P], in squared gradient units.

        Cost O(K·P) a row.
        """
        require(
            gradients.ndim >= 2 and gradients.shape[-2] == weights.shape[-1],
            f"gradients must be [..., K, P] with K = {weights.shape[-1]}",
            tuple(gradients.shape),
        )
        exact = gradients.double()
        direction = weights.double().unsqueeze(-2) @ exact  # [..., 1, P]
        slopes = (exact @ direction.mT).squeeze(-1)
        coarser = max(weights.dtype, gradients.dtype, key=lambda dtype: torch.finfo(dtype).eps)
        return -slopes.amin(dim=-1).to(coarser)

    def residual_of_gram(self, weights: Tensor, gram: Tensor) -> Tensor:
        """−min_k (G w)_k [...] of weights [..., K] and inner products G = (⟨g_j, g_k⟩) [..., K, K].

        Cost O(K²) a row.
        """
        num_teachers = weights.shape[-1]
        require(
            gram.ndim >= 2 and gram.shape[-2:] == (num_teachers, num_teachers),
            f"inner products must be [..., {num_teachers}, {num_teachers}]",
            tuple(gram.shape),
        )
        slopes = (gram.double() * weights.double().unsqueeze(-2)).sum(dim=-1)
        coarser = max(weights.dtype, gram.dtype, key=lambda dtype: torch.finfo(dtype).eps)
        return -slopes.amin(dim=-1).to(coarser)

    def tolerance_of_gram(self, dtype: torch.dtype, num_teachers: int, scale: float) -> float:
        """(16·K² + K/2 + 6)·eps·scale with scale = max_k ‖g_k‖², for inner products that are rounded themselves.

        A matrix counts as positive semidefinite down to −8·K·eps·λ_max, and λ_max ≤ K·scale.
        """
        return self.tolerance(dtype, num_teachers, scale) + 16 * num_teachers**2 * torch.finfo(dtype).eps * scale

    def tolerance(self, dtype: torch.dtype, num_teachers: int, scale: float = LOG_SCALE) -> float:
        """(K/2 + 6)·eps·scale with scale = max_k ‖g_k‖²: how far rounded weights move a slope. Do name the scale."""
        return weight_slack(dtype, num_teachers) * scale
