"""The nearest target that is safe enough."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trivium.errors import InputError, require


def safe_projection(log_q: Tensor, unsafe: Tensor, limit: float | Tensor) -> Tensor:
    """Return the I-projection: log of the solution, for every row, of

        minimize    KL(y‖q)
        subject to  y(U) ≤ δ, y a distribution.

    Where q(U) ≤ δ it is q. Elsewhere entries of U are scaled by δ/q(U) and all others by (1 − δ)/(1 − q(U)): on each
    side the ratios of q stay, and KL = kl(δ‖q(U)).

    Args:
        log_q: [N, V], log-probabilities.
        unsafe: bool [N, V].
        limit: δ in [0, 1], or [N] of them.

    Returns:
        log y [N, V], in the dtype of ``log_q``.

    Raises:
        InputError: a limit outside [0, 1]; a row that has mass on U alone and a limit below 1.

    Cost O(N·V).

    >>> q = torch.tensor([[0.5, 0.3, 0.2]]).log()
    >>> safe_projection(q, torch.tensor([[True, False, False]]), 0.1).exp()
    tensor([[0.1000, 0.5400, 0.3600]])
    """
    delta = torch.as_tensor(limit, dtype=torch.float64, device=log_q.device).expand(len(log_q))
    fits = bool(((delta >= 0) & (delta <= 1)).all())
    require(fits, "a limit of unsafe mass must lie in [0, 1]", limit, "For example 0.01.")
    inside = torch.logsumexp(log_q.double().masked_fill(~unsafe, -math.inf), -1)
    outside = torch.logsumexp(log_q.double().masked_fill(unsafe, -math.inf), -1)
    log_delta = delta.log()
    over = inside > log_delta
    if bool((over & outside.isneginf() & (delta < 1)).any()):
        raise InputError(
            "a target must have mass beside its unsafe set", "a row with all of it there", "Soften its teachers."
        )
    shift = torch.where(unsafe, (log_delta - inside).unsqueeze(-1), ((-delta).log1p() - outside).unsqueeze(-1))
    moved = (log_q.double() + shift.nan_to_num(nan=0.0)).to(log_q.dtype)
    return torch.where(over.unsqueeze(-1), moved, log_q)
