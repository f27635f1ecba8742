"""Bounding the influence of any weights to a stated budget."""

from __future__ import annotations

from torch import Tensor

from trivium.errors import require
from trivium.simplex.geometry import log_normalize


def limit_influence(log_w: Tensor, budget: float) -> Tensor:
    """log-normalize max(s, max s − B): the scores s [..., K] with influence at most B nats; shape and dtype are kept.

    Teachers further than B below the leader are raised to that distance. The map before normalization is monotone and
    commutes with adding a constant, so it is non-expansive in d_H, keeps the order of the teachers, and is the
    identity on weights whose influence is ≤ B. A zero weight (``-inf``) is raised too. Cost O(K) a row;
    differentiable almost everywhere.

    Raises:
        InputError: a budget that is negative or NaN.

    >>> import torch
    >>> w = limit_influence(torch.tensor([0.0, -9.0, -torch.inf]), budget=2.0)
    >>> [round(x, 4) for x in (w - w.max()).tolist()]
    [0.0, -2.0, -2.0]
    """
    require(budget >= 0.0, "an influence budget must be a number of nats ≥ 0", budget)
    # Measured from the leader, so that large scores do not cost the budget its last digits.
    return log_normalize((log_w - log_w.amax(dim=-1, keepdim=True)).clamp_min(-budget))
