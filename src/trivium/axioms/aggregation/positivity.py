"""A-P: what every teacher holds possible, the pool holds possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from trivium.axioms.aggregation.pooling import Pooling
from trivium.axioms.transform import TransformAxiom
from trivium.simplex.rounding import LOG_SCALE


@final
class PositivityInheritance(TransformAxiom):
    """A-P: all p_k(i) > 0 ⇒ q(i) > 0. All teachers count, those of weight zero too, so a veto is no breach.

    Weights of zero change nothing: they sum to one, so some teacher has a voice, and it holds the entry possible. A
    stronger reading is another axiom, and not this one: that an entry which *one* teacher with weight holds possible
    stays so. Linear and power pools of ρ > 0 keep it; the log pool and ρ < 0 break it, as each teacher has a veto.

    >>> log_p = [torch.tensor([0.5, 0.5]).log(), torch.tensor([1.0, 0.0]).log()]
    >>> PositivityInheritance().residual(lambda log_p, log_w: log_p[1], log_p, torch.zeros(2)).item()
    -1.0
    """

    id, name = "A-P", "positivity inheritance"
    statement = "−min q(i) < 0 over the entries i where all p_k(i) > 0"
    strict = True

    def residual(self, pool: Pooling, log_p: Sequence[Tensor], log_w: Tensor) -> Tensor:
        """−min q(i) [...] over the entries that all teachers hold possible; −inf for rows without any.

        A finite logarithm is a positive probability even where exp underflows; the residual is then minus the smallest
        normal number of the dtype, so its sign is right.
        """
        log_q = pool(log_p, log_w)
        shared = torch.stack([torch.isfinite(entry) for entry in log_p]).all(dim=0)
        size = log_q.double().exp().clamp(min=torch.finfo(log_q.dtype).tiny).masked_fill(torch.isneginf(log_q), 0.0)
        return (-size.masked_fill(~shared, torch.inf).amin(dim=-1)).to(log_q.dtype)

    def tolerance(self, dtype: torch.dtype, entries: int, scale: float = LOG_SCALE) -> float:
        """Zero: a sign does not depend on rounding."""
        return 0.0
