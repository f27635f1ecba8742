"""F-R: what was more probable stays so, and ties stay ties."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from trivium.axioms.softening.softening import Softening
from trivium.axioms.transform import TransformAxiom
from trivium.simplex.rounding import LOG_SCALE, log_slack


@final
class RankPreservation(TransformAxiom):
    """F-R: p(i) ≥ p(j) ⇒ q(i) ≥ q(j), so equal probabilities stay equal. Ranks may collapse into ties, not cross.

    >>> swap = lambda log_p, t: log_p.flip(-1)
    >>> RankPreservation().residual(swap, torch.tensor([0.75, 0.25]).double().log(), 1.0).item()
    0.5
    """

    id, name = "F-R", "rank preservation"
    statement = "max over p(i) ≥ p(j) of q(j) − q(i) ≤ 0"

    def residual(self, soften: Softening, log_p: Tensor, parameter: float) -> Tensor:
        """max over pairs with p(i) ≥ p(j) of q(j) − q(i) [...]. Cost O(V log V) a row."""
        log_q = soften(log_p, parameter)
        q = log_q.double().exp()
        order = log_p.double().argsort(dim=-1, descending=True)
        ranked, pooled = log_p.double().gather(-1, order), q.gather(-1, order)
        # Over strictly more probable entries a running minimum does; within a tie both directions count.
        level = torch.cat([torch.zeros_like(ranked[..., :1]), ranked.diff(dim=-1) < 0], dim=-1).cumsum(dim=-1).long()
        least = torch.full_like(pooled, torch.inf).scatter_reduce(-1, level, pooled, "amin")
        worst = (pooled - least.cummin(dim=-1).values.gather(-1, level)).amax(dim=-1)
        return worst.to(log_q.dtype)

    def tolerance(self, dtype: torch.dtype, entries: int, scale: float = LOG_SCALE) -> float:
        """2·eps·(scale + 4): the normalizer is common to all entries and cancels."""
        return log_slack(dtype, scale)
