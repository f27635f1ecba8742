"""A-M: the pool comes no farther from a teacher whose weight rises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from trivium.axioms.aggregation.pooling import Pooling
from trivium.axioms.transform import TransformAxiom
from trivium.errors import require
from trivium.simplex.geometry import kl
from trivium.simplex.rounding import LOG_SCALE, log_slack, weight_slack


def raise_weight(log_w: Tensor, teacher: int, amount: float) -> Tensor:
    """Log weights [..., K] on the way from w to the teacher alone: (1 − a)·w + a·e_k, so the others are rescaled.

    >>> raise_weight(torch.tensor([0.5, 0.3, 0.2]).log(), 1, 0.5).exp()
    tensor([0.2500, 0.6500, 0.1000])
    """
    require(0.0 <= amount <= 1.0, "the amount that a weight is raised by must be in [0, 1]", amount)
    if amount == 0.0:
        return log_w.clone()
    scaled = log_w + (math.log1p(-amount) if amount < 1.0 else -math.inf)
    own = torch.logaddexp(scaled[..., teacher], torch.full_like(scaled[..., teacher], math.log(amount)))
    return torch.cat([scaled[..., :teacher], own.unsqueeze(-1), scaled[..., teacher + 1 :]], dim=-1)


@final
class WeightMonotonicity(TransformAxiom):
    """A-M: KL(p_k‖q) does not rise as w_k rises, the others rescaled.

    >>> log_p = [torch.tensor([0.9, 0.1]).double().log(), torch.tensor([0.5, 0.5]).double().log()]
    >>> stubborn = lambda log_p, log_w: log_p[0] if log_w[0] < -0.5 else log_p[1]
    >>> axiom, log_w = WeightMonotonicity(), torch.tensor([0.5, 0.5]).double().log()
    >>> axiom.residual(stubborn, log_p, log_w, teacher=0, amount=0.5).round(decimals=4).item()
    0.3681
    """

    id, name = "A-M", "weight monotonicity"
    statement = "KL(p_k‖q′) − KL(p_k‖q) ≤ 0 where w′ = (1 − a)·w + a·e_k"

    def residual(self, pool: Pooling, log_p: Sequence[Tensor], log_w: Tensor, *, teacher: int, amount: float) -> Tensor:
        """KL(p_k‖q′) − KL(p_k‖q) [...] in nats; 0 where both are infinite."""
        before, after = pool(log_p, log_w), pool(log_p, raise_weight(log_w, teacher, amount))
        exact = log_p[teacher].double()
        was, became = kl(exact, before.double()), kl(exact, after.double())
        change = (became - was).masked_fill(torch.isposinf(was) & torch.isposinf(became), 0.0)
        return change.to(before.dtype)

    def tolerance(self, dtype: torch.dtype, entries: int, scale: float = LOG_SCALE) -> float:
        """2·(2·eps·(scale + 4) + (V/2 + 6)·eps) nats: a mean of log q, twice, each with the error of its normalizer."""
        return 2 * (log_slack(dtype, scale) + weight_slack(dtype, entries))
