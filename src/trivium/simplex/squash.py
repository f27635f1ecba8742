"""A smooth bound on influence."""

from __future__ import annotations

import math

from torch import Tensor

from trivium.errors import require
from trivium.simplex.geometry import log_normalize


def squash(log_w: Tensor, bound: float) -> Tensor:
    """log-normalize B·tanh((s − max s)/B): the scores s [..., K] with influence below B nats; shape and dtype are kept.

    Near the leader nothing changes, far below it scores saturate at −B: a smooth
    :func:`~trivium.simplex.limit.limit_influence` that keeps strict order. Non-expansive in d_H (T4). A zero weight
    (``-inf``) is raised to the bound. Cost O(K) a row; differentiable almost everywhere.

    Raises:
        InputError: a bound that is not a positive finite number.

    >>> import torch
    >>> w = squash(torch.tensor([0.0, -2.0, -torch.inf]), bound=2.0)
    >>> [round(x, 4) for x in (w - w.max()).tolist()]
    [0.0, -1.5232, -2.0]
    """
    require(0.0 < bound < math.inf, "the bound of a squash must be a positive number of nats", bound)
    return log_normalize(bound * ((log_w - log_w.amax(dim=-1, keepdim=True)) / bound).tanh())
