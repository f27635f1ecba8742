"""W-S: on safety-critical inputs a safer teacher never weighs less than a less safe one."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from trivium.axioms.base import Axiom
from trivium.errors import require
from trivium.former import renamed
from trivium.simplex.order import Order
from trivium.simplex.rounding import LOG_SCALE, deep_slack, log_slack


@renamed(margin="order_margin")
@final
class OrdinalSafety(Axiom):
    """W-S for a safety order and a margin m ≥ 0 in nats.

    >>> axiom = OrdinalSafety(Order(((0,), (1,))), order_margin=0.5)
    >>> axiom.residual(torch.tensor([[0.0, -1.0], [-1.0, 0.0]], dtype=torch.float64)).tolist()
    [-0.5, 1.5]
    """

    id, name = "W-S", "ordinal safety monotonicity"
    statement = "max over j safer than k of log w_k − log w_j + m ≤ 0, on critical inputs"

    def __init__(self, order: Order, order_margin: float = 0.0) -> None:
        require(0.0 <= order_margin < math.inf, "a safety margin must be a number of nats ≥ 0", order_margin)
        self.order, self.order_margin = order, order_margin

    def residual(self, log_w: Tensor, critical: Tensor | None = None) -> Tensor:
        """max over pairs of log w_k − log w_j + m [...] of log weights [..., K].

        Rows where ``critical`` (bool [...], all rows by default) is false, and rows of an order without pairs, are
        -inf: nothing is required. A pair whose less safe teacher has weight zero holds whatever the other has.
        The rounding of log weights below -16, which the tolerance does not know of, is taken off.
        """
        num_teachers = self.order.num_teachers
        require(
            log_w.shape[-1] == num_teachers, f"the safety order is over {num_teachers} teachers", tuple(log_w.shape)
        )
        exact = log_w.double()
        worst = torch.full_like(exact[..., 0], -torch.inf)
        for j, k in self.order.pairs():
            lead = exact[..., k] - exact[..., j] + self.order_margin
            worst = torch.maximum(worst, lead.masked_fill(exact[..., k] == -torch.inf, -torch.inf))
        worst = (worst - deep_slack(log_w)).masked_fill(exact.isnan().any(dim=-1), torch.nan)
        if critical is not None:
            worst = worst.masked_fill(~critical, -torch.inf)
        return worst.to(log_w.dtype)

    def leak(self, log_w: Tensor, bare: Tensor, critical: Tensor) -> Tensor:
        """max |log w_k − log bare_k| [...] where ``critical`` is false, and -inf where it is true: what keeping the
        order on critical inputs does to all others, for whom the weights should be the bare ones."""
        moved = (log_w.double() - bare.double()).abs().nan_to_num(nan=0.0).amax(dim=-1)
        return moved.masked_fill(critical, -torch.inf).to(log_w.dtype)

    def tolerance(self, dtype: torch.dtype, num_teachers: int, scale: float = LOG_SCALE) -> float:
        """2·eps·(scale + 4) nats: two log weights of magnitude ``scale`` and the scores behind them."""
        return log_slack(dtype, scale)
