"""The weights of Nash's bargain over vectors, from their Gram matrix."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trivium.errors import require

_EPS = torch.finfo(torch.float64).eps
#: Newton steps of one row at most; self-concordance bounds them, and about 60 are needed where vectors are opposed.
_STEPS = 256
#: A Newton decrement below which whole steps are taken.
_NEAR = 0.25


def ridge(num_teachers: int) -> float:
    """ε = 8·K²·eps of float64, the level at which a Gram matrix of K vectors is rounded.

    >>> round(ridge(3) * 1e14, 2)
    1.6
    """
    return 8 * num_teachers**2 * _EPS


def most_influence(num_teachers: int) -> float:
    r"""log(2·K^{3/2}·(1 + ε)/ε), what log(α_j/α_k) can reach.

    From αᵀ(G + εsI)α = K with s = max_k G_kk: ‖α‖ ≤ √(K/εs), so Σα ≤ K/√(εs); and 1/α_k ≤ s(1 + ε)·Σα. The factor 2
    is room for what the solver leaves.
    """
    if num_teachers == 1:
        return 0.0
    epsilon = ridge(num_teachers)
    return math.log(2 * num_teachers**1.5 * (1 + epsilon) / epsilon)


def nash_weights(gram: Tensor) -> Tensor:
    r"""α > 0 with (Gα)_k + εs·α_k = 1/α_k, the minimum of ½·αᵀ(G + εsI)α − Σ_k log α_k, for G [..., K, K].

    s = max_k G_kk and ε = :func:`ridge`; a matrix of zeros gives α_k = 1. Where the vectors allow a direction d that
    helps all of them, Σ α_k g_k is the one of greatest Π_k ⟨g_k, d⟩ for its length, Nash's bargain, and ε is lost in
    rounding. Where none does (some weighted mean is zero), the term in ε picks α on the line of that mean.

    Either way (Gα)_k = 1/α_k − εs·α_k ≥ −εs·α_k: W-C up to the rounding of G.

    G must be positive semidefinite up to the rounding of float64; otherwise there may be no minimum.

    Damped Newton steps in units of α. The function is self-concordant, so each keeps α > 0 and lowers it.
    Cost: mostly 5 to 60 steps of O(K³) a row, up to twice that for K = 32, in float64, all rows at once.

    Returns:
        α [..., K], float64.

    Raises:
        InputError: no square matrix, or an entry that is not finite.

    >>> nash_weights(torch.tensor([[1.0, 0.0], [0.0, 0.25]]))
    tensor([1.0000, 2.0000], dtype=torch.float64)
    """
    require(gram.ndim >= 2 and gram.shape[-1] == gram.shape[-2], "a Gram matrix must be square", tuple(gram.shape))
    require(bool(gram.isfinite().all()), "a Gram matrix must hold finite numbers", "NaN or infinity")
    num_teachers = gram.shape[-1]
    rows = gram.detach().double().reshape(-1, num_teachers, num_teachers)
    largest = rows.diagonal(dim1=-2, dim2=-1).amax(dim=-1)
    scale = torch.where(largest > 0, largest, 1.0)
    # LAPACK rounds odd matrices by their place in memory, so they are bordered by a one, whose α is one throughout.
    size = num_teachers + num_teachers % 2
    unit = torch.eye(size, dtype=torch.float64, device=gram.device).repeat(len(rows), 1, 1)
    unit[:, :num_teachers, :num_teachers] *= ridge(num_teachers)
    unit[:, :num_teachers, :num_teachers] += rows / scale[:, None, None]
    alpha = unit.new_ones((len(unit), size))
    alpha[:, :num_teachers] = num_teachers**-0.5
    open_rows, left = torch.arange(len(unit), device=gram.device), unit.new_full((len(unit),), torch.inf)
    for _ in range(_STEPS):
        if len(open_rows) == 0:
            break
        alpha[open_rows], decrement = _step(unit[open_rows], alpha[open_rows])
        # Near the minimum λ² is squared by each step, until rounding keeps it from falling.
        done = (decrement < _NEAR**2) & ((decrement < _EPS**1.25) | (decrement > left[open_rows] / 2))
        left[open_rows] = decrement
        open_rows = open_rows[~done]
    alpha = alpha[:, :num_teachers]
    alpha = torch.where(largest[:, None] > 0, alpha / scale.sqrt()[:, None], 1.0)
    return alpha.reshape(gram.shape[:-1])


def _step(gram: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Return one damped Newton step of α [N, K], and λ² [N], the square of the Newton decrement before it."""
    scaled = gram * alpha.unsqueeze(-1) * alpha.unsqueeze(-2)
    slope = scaled.sum(dim=-1) - 1
    hessian = scaled + torch.eye(alpha.shape[-1], dtype=alpha.dtype, device=alpha.device)
    step = -torch.linalg.solve(hessian, slope.unsqueeze(-1)).squeeze(-1)
    decrement = -(step * slope).sum(dim=-1).clamp(max=0.0)
    # Exactly, no entry of the step exceeds λ; rounded, where G is singular, one may.
    length = torch.maximum(decrement.sqrt(), step.abs().amax(dim=-1)).unsqueeze(-1)
    return alpha * (1 + torch.where(length > _NEAR, step / (1 + length), step)), decrement
