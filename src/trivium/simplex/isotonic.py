"""Weighted isotonic regression of many short rows at once."""

from __future__ import annotations

import torch
from torch import Tensor

from trivium.simplex.capturing import capturing

#: Elements of the largest work tensor: 2^21 float64 are 16 MiB.
WORK = 1 << 21


def isotonic_regression(values: Tensor, weights: Tensor) -> Tensor:
    """Return the solution, for every row, of

        minimize    Σ_i ω_i (v_i − x_i)²      over v in R^K
        subject to  v_0 ≤ v_1 ≤ … ≤ v_{K−1}

    by the max–min formula v_i = max_{j ≤ i} min_{l ≥ i} mean_ω(x_j … x_l) (Robertson, Wright and Dykstra 1988,
    theorem 1.4.4). Rows that already ascend are returned untouched, and the result ascends exactly, not up to rounding.

    Args:
        values: x [..., K], finite.
        weights: ω [K], positive.

    Returns:
        v [..., K], in the dtype of ``values``. Cost O(K²) a row; memory is held to a few times 16 MiB.

    >>> isotonic_regression(torch.tensor([3.0, 1.0, 2.0, 5.0]), torch.tensor([1.0, 1.0, 1.0, 1.0])).tolist()
    [2.0, 2.0, 2.0, 5.0]
    """
    ascends = (values.diff(dim=-1) >= 0).all(dim=-1, keepdim=True)
    if not capturing() and bool(ascends.all()):
        return values
    count = values.shape[-1]
    rows = values.reshape(-1, count)
    pieces = [_max_min(piece, weights) for piece in torch.split(rows, max(1, WORK // count**2))]
    return torch.where(ascends, values, torch.cat(pieces).reshape(values.shape))


def _max_min(x: Tensor, weights: Tensor) -> Tensor:
    count = x.shape[-1]
    means = x.new_full((x.shape[0], count, count), torch.inf)  # means[:, j, l] of x_j … x_l, +inf below the diagonal
    total, mass = torch.zeros_like(x), torch.zeros_like(weights)
    for last in range(count):
        # Running sums from every start j, not differences of prefix sums: ω spans many orders of magnitude.
        total[:, : last + 1] += weights[last] * x[:, last : last + 1]
        mass[: last + 1] += weights[last]
        means[:, : last + 1, last] = total[:, : last + 1] / mass[: last + 1]
        means[:, last, last] = x[:, last]
    best = means.flip(2).cummin(dim=2).values.flip(2)  # [j, i]: min over l ≥ i (for i ≥ j)
    too_late = torch.ones(count, count, dtype=torch.bool, device=x.device).tril(-1)  # j > i
    return best.masked_fill(too_late, -torch.inf).amax(dim=1)
