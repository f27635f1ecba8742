"""Weights restricted to some of the teachers: what a row gets whose task not every teacher serves."""

from __future__ import annotations

import torch
from torch import Tensor

from trivium.errors import require
from trivium.former import renamed


@renamed(serving="teacher_mask")
def restrict(log_w: Tensor, teacher_mask: Tensor) -> Tensor:
    r"""w_S(k) = w(k)·1[k ∈ S] / Σ_{j∈S} w(j) in log space: −inf outside S, log_softmax inside.

    **Restriction keeps what is promised of ratios.** For j, k ∈ S the sum cancels, log w_S(j)/w_S(k) = log w(j)/w(k),
    so among the serving teachers

    - influence does not rise, β(w_S) ≤ β(w), nor does the regularity constant, d_H(u_S, v_S) ≤ d_H(u, v);
    - W-S holds for the order restricted to S with the same margin;
    - a floor only rises: w_S(k) = w(k)/Σ_S w ≥ w(k) ≥ a, since Σ_S w ≤ 1; strictly where an absent one had weight.

    A cap does **not** survive: with m = |S| serving teachers w_S(k) ≤ b/(b + (m − 1)a), attained where one has b and
    the others of S have a; alone, a teacher has weight one whatever b says.

    Args:
        log_w: [..., K], natural logs of weights.
        teacher_mask: bool, broadcastable to it; True where a teacher serves the row.

    Returns:
        [..., K] in the dtype of ``log_w``. NaN in a row whose weights are zero on all of S: no restriction exists.

    Raises:
        InputError: a row that no teacher serves.

    Cost O(K) a row.

    >>> restrict(torch.tensor([0.5, 0.3, 0.2]).log(), torch.tensor([True, True, False])).exp()
    tensor([0.6250, 0.3750, 0.0000])
    """
    require(bool(teacher_mask.any(-1).all()), "every row must have a teacher that serves it", "a row without one")
    return torch.log_softmax(log_w.masked_fill(~teacher_mask, -torch.inf), dim=-1)


@renamed(serving="teacher_mask")
def stand_ins(teacher_mask: Tensor) -> Tensor:
    """For each row the teacher whose features teacher k gets: k itself, or the first that serves where k does not.

    So the largest score, from which a budget counts, is that of a serving teacher, and a rule that scores each teacher
    by its own features gives after :func:`restrict` exactly the weights of the serving teachers alone.

    Args:
        teacher_mask: bool [B, K].

    Returns:
        int64 [B, K].

    >>> stand_ins(torch.tensor([[False, True, True]]))
    tensor([[1, 1, 2]])
    """
    own = torch.arange(teacher_mask.shape[-1], device=teacher_mask.device).expand(teacher_mask.shape)
    first = teacher_mask.int().argmax(-1, keepdim=True)
    return torch.where(teacher_mask, own, first)
