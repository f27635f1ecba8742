"""F-E: a larger parameter leaves no less entropy."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from trivium.axioms.softening.softening import Softening
from trivium.axioms.transform import TransformAxiom
from trivium.errors import require
from trivium.simplex.rounding import LOG_SCALE, log_slack, weight_slack


@final
class EntropyMonotonicity(TransformAxiom):
    """F-E: H(q_t) ≤ H(q_t′) for t ≤ t′.

    >>> sharpen = lambda log_p, t: torch.log_softmax(t * log_p, dim=-1)
    >>> log_p = torch.tensor([0.8, 0.2]).double().log()
    >>> EntropyMonotonicity().residual(sharpen, log_p, 1.0, higher=2.0).round(decimals=4).item()
    0.2767
    """

    id, name = "F-E", "entropy monotone in the parameter"
    statement = "H(q_t) − H(q_t′) ≤ 0 for t ≤ t′"

    def residual(self, soften: Softening, log_p: Tensor, parameter: float, *, higher: float) -> Tensor:
        """H(q_t) − H(q_t′) [...] in nats.

        Raises:
            InputError: ``higher`` is below ``parameter``.
        """
        require(parameter <= higher, "the second parameter must be no less than the first", (parameter, higher))
        low, high = soften(log_p, parameter), soften(log_p, higher)
        return (_entropy(low.double()) - _entropy(high.double())).to(low.dtype)

    def tolerance(self, dtype: torch.dtype, entries: int, scale: float = LOG_SCALE) -> float:
        """2·(2·eps·(scale + 4) + (V/2 + 6)·eps) nats: two means of logarithms, each with its normalizer's error."""
        return 2 * (log_slack(dtype, scale) + weight_slack(dtype, entries))


def _entropy(log_q: Tensor) -> Tensor:
    return -(log_q.exp() * log_q.masked_fill(torch.isneginf(log_q), 0.0)).sum(dim=-1)
