"""Measure how well each teacher has predicted the last tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from trivium.errors import require
from trivium.weighting.features import BUILT_IN

#: Tokens that are summed by one matrix product; it bounds the matrix, not the reach of the evidence.
_BLOCK = 128


def recent_log_prob(label_log_prob: Tensor, decay: float, mask: Tensor | None = None) -> Tensor:
    """R_k(t) = Σ_{s<t} d^{t−1−s} · log p_k(x_s | x_<s), so R(0) = 0 and R(t+1) = d·R(t) + log p_k(x_t | x_<t).

    The token that position t predicts, and every later one, is left out: a change of theirs changes no bit of R(≤ t).
    Half of what is remembered is log ½ / log d tokens old or younger: 1 token at d = .5, 6.6 at .9, 23 at .97.

    Args:
        label_log_prob: log p_k of the token that each position predicts, [B, T, K], nats; each counts for at least
            −30, the least of the feature ``label_log_prob``, so that a token that a teacher rules out is forgotten.
        decay: d, in (0, 1).
        mask: which positions predict a real token, [B, T]; others add nothing, whatever they hold.

    Returns:
        [B, T, K] in the dtype of ``label_log_prob``, within [−30/(1 − d), 0]. Cost O(B·T·K), in T/128 steps.

    Raises:
        InputError: a decay outside (0, 1).

    >>> recent_log_prob(torch.tensor([[[-1.0], [-2.0], [-4.0], [-8.0]]]), decay=0.5)[0, :, 0]
    tensor([ 0.0000, -1.0000, -2.5000, -5.2500])
    """
    require(0.0 < decay < 1.0, "the decay of evidence must lie in (0, 1)", decay, "Use .9; 1 is prefix_log_prob.")
    log_p = label_log_prob.clamp_min(BUILT_IN["label_log_prob"].low)
    if mask is not None:
        log_p = torch.where(mask.unsqueeze(-1), log_p, 0.0)
    length = log_p.shape[-2]
    size = min(_BLOCK, length)
    places = torch.arange(size, device=log_p.device)
    age = places[:, None] - 1 - places[None, :]
    # In float64 first: d^127 of .5 is a subnormal of float32 and a normal number of float64.
    kernel = torch.where(age >= 0, decay ** age.clamp_min(0).double(), 0.0).to(log_p)
    fading = (decay ** places.double()).to(log_p).unsqueeze(-1)
    found, before = torch.empty_like(log_p), torch.zeros_like(log_p[..., :1, :])
    for start in range(0, length, size):
        block = log_p[..., start : start + size, :]
        width = block.shape[-2]
        evidence = kernel[:width, :width] @ block + fading[:width] * before
        found[..., start : start + width, :] = evidence
        before = decay * evidence[..., -1:, :] + block[..., -1:, :]
    return found
