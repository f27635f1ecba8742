"""A-C: nearby teachers and weights give nearby pools, where all entries are positive and up to the boundary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from trivium.axioms.aggregation.pooling import Modulus, Pooling
from trivium.axioms.transform import TransformAxiom
from trivium.simplex.geometry import total_variation
from trivium.simplex.rounding import LOG_SCALE, log_slack, weight_slack


@final
class PoolContinuity(TransformAxiom):
    """A-C for an aggregator that states a modulus of continuity.

    Our reading: the domain is all p_k(i) > 0 with any weights, and the modulus is a number computed from the two
    inputs that bounds TV(q, q′) and goes to zero as they meet. A modulus is part of what the aggregator declares, as a
    rule declares its constant for W-R; rows outside the domain are −inf.

    >>> last = lambda log_p, log_w: log_p[int(log_w.argmax())]
    >>> log_p = [torch.tensor([0.9, 0.1]).double().log(), torch.tensor([0.5, 0.5]).double().log()]
    >>> log_w, moved = torch.tensor([0.51, 0.49]).double().log(), torch.tensor([0.49, 0.51]).double().log()
    >>> lipschitz = lambda log_p, log_w, moved_log_p, moved_log_w: total_variation(log_w, moved_log_w)
    >>> axiom = PoolContinuity(lipschitz)
    >>> axiom.residual(last, log_p, log_w, moved_log_p=log_p, moved_log_w=moved).round(decimals=6).item()
    0.38
    """

    id, name = "A-C", "continuity"
    statement = "TV(q, q′) − modulus(p, w; p′, w′) ≤ 0, all p_k(i) > 0"

    def __init__(self, modulus: Modulus) -> None:
        self.modulus = modulus

    def residual(
        self,
        pool: Pooling,
        log_p: Sequence[Tensor],
        log_w: Tensor,
        *,
        moved_log_p: Sequence[Tensor],
        moved_log_w: Tensor,
    ) -> Tensor:
        """TV(q, q′) − modulus [...]; −inf in rows where a teacher holds an entry impossible."""
        excess = _excess(self.modulus, pool, log_p, log_w, moved_log_p, moved_log_w)
        lacking = torch.stack([torch.isneginf(entry) for entry in (*log_p, *moved_log_p)]).any(dim=0).any(dim=-1)
        return excess.masked_fill(lacking, -torch.inf)

    def tolerance(self, dtype: torch.dtype, entries: int, scale: float = LOG_SCALE) -> float:
        """(V/2 + 6)·eps + 2·eps·(scale + 4): a total variation of two pools."""
        return weight_slack(dtype, entries) + log_slack(dtype, scale)


@final
class BoundaryContinuity(TransformAxiom):
    """A-C(0): continuity on the closed simplices, zero probabilities and zero weights included.

    A pool with vetoes breaks it: a teacher of weight 1e-12 rules out an entry that it does not at weight zero.
    """

    id, name = "A-C(0)", "continuity up to the boundary"
    statement = "TV(q, q′) − modulus(p, w; p′, w′) ≤ 0, zeros allowed"

    def __init__(self, modulus: Modulus) -> None:
        self.modulus = modulus

    def residual(
        self,
        pool: Pooling,
        log_p: Sequence[Tensor],
        log_w: Tensor,
        *,
        moved_log_p: Sequence[Tensor],
        moved_log_w: Tensor,
    ) -> Tensor:
        """TV(q, q′) − modulus [...]."""
        return _excess(self.modulus, pool, log_p, log_w, moved_log_p, moved_log_w)

    def tolerance(self, dtype: torch.dtype, entries: int, scale: float = LOG_SCALE) -> float:
        """(V/2 + 6)·eps + 2·eps·(scale + 4): a total variation of two pools."""
        return weight_slack(dtype, entries) + log_slack(dtype, scale)


def _excess(
    modulus: Modulus,
    pool: Pooling,
    log_p: Sequence[Tensor],
    log_w: Tensor,
    moved_log_p: Sequence[Tensor],
    moved_log_w: Tensor,
) -> Tensor:
    one, other = pool(log_p, log_w), pool(moved_log_p, moved_log_w)
    allowed = modulus(
        [entry.double() for entry in log_p],
        log_w.double(),
        [entry.double() for entry in moved_log_p],
        moved_log_w.double(),
    )
    return (total_variation(one.double(), other.double()) - allowed).to(one.dtype)
