"""A-T(b): as the common temperature grows, the pool of the softened teachers becomes uniform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from trivium.axioms.aggregation.pooling import Pooling, tempered
from trivium.axioms.transform import TransformAxiom
from trivium.simplex.rounding import LOG_SCALE, log_slack, weight_slack


@final
class TemperatureFlattening(TransformAxiom):
    """A-T(b): T → ∞ gives uniform, at the rate of the teachers themselves.

    The axiom is known by name only. Our reading gives the limit a rate, so that one temperature can refute it. With
    R = max_k log(max_i p_k(i)/min_i p_k(i)), every softened teacher lies between e^{∓R/T}/V; so does any mean m of
    them, entry by entry, hence d_H(q, uniform) ≤ 2R/T for q ∝ m and TV(q, uniform) ≤ tanh(R/2T) by T4. Where a
    teacher holds an entry impossible R is infinite and nothing is required: no temperature revives a zero.

    >>> log_p, log_w = [torch.tensor([0.9, 0.1]).double().log()], torch.zeros(1).double()
    >>> first = lambda log_p, log_w: torch.log_softmax(1e6 * log_p[0], dim=-1)
    >>> TemperatureFlattening().residual(first, log_p, log_w, temperature=100.0).round(decimals=3).item()
    0.489
    """

    id, name = "A-T(b)", "flattens with temperature"
    statement = "TV(G(p^{1/T}), uniform) − tanh(R/2T) ≤ 0, R = max_k log(max p_k/min p_k)"

    def residual(self, pool: Pooling, log_p: Sequence[Tensor], log_w: Tensor, *, temperature: float) -> Tensor:
        """TV(G(p^{1/T}), uniform) − tanh(R/2T) [...]."""
        log_q = pool([tempered(entry, temperature) for entry in log_p], log_w)
        q = log_q.double().exp()
        distance = 0.5 * (q - 1.0 / q.shape[-1]).abs().sum(dim=-1)
        ranges = torch.stack([entry.double().amax(dim=-1) - entry.double().amin(dim=-1) for entry in log_p])
        return (distance - torch.tanh(ranges.amax(dim=0) / (2 * temperature))).to(log_q.dtype)

    def tolerance(self, dtype: torch.dtype, entries: int, scale: float = LOG_SCALE) -> float:
        """(V/2 + 6)·eps + 2·eps·(scale + 4)."""
        return weight_slack(dtype, entries) + log_slack(dtype, scale)
