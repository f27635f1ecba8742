"""Distances between weight vectors, and what a bound in one says about another. All arguments are natural logs.

The simplex over K teachers is measured in Hilbert's projective metric

    d_H(u, v) = max_k log(u_k / v_k) − min_k log(u_k / v_k)    [nats],

which ignores normalization, turns products of weight vectors into sums and bounds total variation (T4).
Every function works on the last axis of tensors [..., K] in their own dtype and costs O(K) a row.
"""

from __future__ import annotations

import math
from typing import overload

import torch
from torch import Tensor

from trivium.errors import require
from trivium.former import renamed


def log_normalize(scores: Tensor) -> Tensor:
    """log w with w_k = exp(s_k) / Σ_j exp(s_j), over the last axis; shape and dtype are kept.

    ``-inf`` is a weight of zero. A row that holds NaN or +inf, or -inf alone, comes out as NaN.

    >>> log_normalize(torch.zeros(4, dtype=torch.float64)).exp().tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    return torch.log_softmax(scores, dim=-1)


def hilbert(log_u: Tensor, log_v: Tensor) -> Tensor:
    """d_H(u, v) [...] in nats of two (not necessarily normalized) log vectors [..., K]; they broadcast.

    Vectors with the same zeros (both ``-inf``) are compared on their common support; a zero in one alone is at
    distance +inf. NaN anywhere in a row gives NaN.

    >>> u, v = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.8, 0.2]).log()
    >>> round(hilbert(u, v).item(), 4) == round(math.log(4), 4)
    True
    """
    both_zero = (log_u == -torch.inf) & (log_v == -torch.inf)
    ratio = (log_u - log_v).masked_fill(both_zero, 0.0)
    high = ratio.masked_fill(both_zero, -torch.inf).amax(dim=-1)
    low = ratio.masked_fill(both_zero, torch.inf).amin(dim=-1)
    # Rows without support have high = -inf, low = +inf: the two vectors are the same (empty) one.
    return torch.where(both_zero.all(dim=-1), torch.zeros_like(high), high - low)


def influence(log_w: Tensor) -> Tensor:
    """β(w) = d_H(w, uniform) = log(max w / min w) [...] in nats; +inf where a weight is zero, 0 for K = 1."""
    return log_w.amax(dim=-1) - log_w.amin(dim=-1)


def total_variation(log_u: Tensor, log_v: Tensor) -> Tensor:
    """TV(u, v) = ½ Σ_k |u_k − v_k| [...], in [0, 1] for normalized arguments [..., K]; they broadcast."""
    return 0.5 * (log_u.exp() - log_v.exp()).abs().sum(dim=-1)


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p‖q) = Σ_k p_k (log p_k − log q_k) [...] in nats, with 0·log 0 = 0 and p·log(p/0) = +inf.

    >>> round(kl(torch.tensor([0.0, -torch.inf]), torch.tensor([0.5, 0.5]).log()).item(), 4)
    0.6931
    """
    absent = log_p == -torch.inf
    # Filled before the subtraction: -inf − -inf would be NaN forward, and NaN·0 would be NaN backward.
    ratio = log_p.masked_fill(absent, 0.0) - torch.where(absent, torch.zeros_like(log_q), log_q)
    return (log_p.exp() * ratio).sum(dim=-1)


@renamed(teachers="num_teachers")
def influence_to_range(beta: float, num_teachers: int) -> tuple[float, float]:
    """Return the floor and cap that an influence budget β implies (T3).

    floor = 1 / (1 + (K − 1)·e^β) and cap = 1 / (1 + (K − 1)·e^−β); both are attained.

    Raises:
        InputError: β negative or NaN, or K < 1.

    >>> floor, cap = influence_to_range(math.log(8), 3)
    >>> round(floor, 4), round(cap, 4)
    (0.0588, 0.8)
    """
    require(beta >= 0.0, "an influence budget must be a number of nats ≥ 0", beta)
    require(num_teachers >= 1, "there must be at least one teacher", num_teachers)
    shrunk = math.exp(-beta)
    if num_teachers == 1:
        return 1.0, 1.0
    return shrunk / (shrunk + (num_teachers - 1)), 1.0 / (1.0 + (num_teachers - 1) * shrunk)


@overload
def tv_of_hilbert(distance: float) -> float: ...
@overload
def tv_of_hilbert(distance: Tensor) -> Tensor: ...
def tv_of_hilbert(distance: float | Tensor) -> float | Tensor:
    """Return the largest total variation between two weight vectors at Hilbert distance d: tanh(d/4) (T4), attained.

    >>> tv_of_hilbert(0.0), tv_of_hilbert(math.inf)
    (0.0, 1.0)
    """
    return torch.tanh(distance / 4) if isinstance(distance, Tensor) else math.tanh(distance / 4)
