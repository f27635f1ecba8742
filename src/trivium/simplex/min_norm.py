"""The point of least norm among weighted means of vectors, from their Gram matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from trivium.errors import InfeasibleError, require
from trivium.simplex.semidefinite import eigh

_EPS = torch.finfo(torch.float64).eps


def min_norm_weights(gram: Tensor, cap: float = 1.0) -> Tensor:
    r"""argmin over α with Σ α_k = 1, 0 ≤ α_k ≤ C of ‖Σ_k α_k g_k‖² = αᵀGα, for each Gram matrix G [..., K, K].

    Where several α attain the minimum (equal or dependent vectors), the one that least-norm steps from the uniform
    vector reach. Optimal up to 8·K²·eps·max_k G_kk in each slope (Gα)_k; zeros and caps are exact.

    *Optimality.* With ν the slope of the entries strictly between the bounds: (Gα)_k ≥ ν where α_k = 0 and ≤ ν where
    α_k = C. For C ≥ 1 therefore (Gα)_k ≥ ν = αᵀGα ≥ 0 for every k: no vector is opposed to the mean (W-C).

    Primal active set: least-squares step on the free entries, stop at the first bound met, release the entry whose
    multiplier has the wrong sign most. Every step without a new bound lowers the objective, so no set comes twice.
    Cost: about K steps of O(K³) a row, in float64, all rows at once.

    Returns:
        α [..., K], float64.

    Raises:
        InfeasibleError: C·K < 1; names the least cap.
        InputError: no square matrix, or a NaN.

    >>> min_norm_weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    tensor([0.8000, 0.2000], dtype=torch.float64)
    >>> min_norm_weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]]), cap=0.6)
    tensor([0.6000, 0.4000], dtype=torch.float64)
    """
    require(gram.ndim >= 2 and gram.shape[-1] == gram.shape[-2], "a Gram matrix must be square", tuple(gram.shape))
    require(not bool(gram.isnan().any()), "a Gram matrix must hold numbers", "NaN")
    num_teachers = gram.shape[-1]
    check_cap(cap, num_teachers)
    rows = gram.detach().double().reshape(-1, num_teachers, num_teachers)
    if num_teachers * cap <= 1 + num_teachers * _EPS:
        return torch.full(gram.shape[:-1], 1 / num_teachers, dtype=torch.float64, device=gram.device)
    largest = rows.diagonal(dim1=-2, dim2=-1).amax(dim=-1).clamp_min(torch.finfo(torch.float64).tiny)
    solver = _ActiveSet(rows / largest[:, None, None], min(cap, 1.0))
    for _ in range(32 + 8 * num_teachers):  # about K are needed; at the level of rounding a multiplier may flicker
        if len(solver.open) == 0:
            break
        solver.step()
    return solver.alpha.reshape(gram.shape[:-1])


def check_cap(cap: float, num_teachers: int) -> None:
    """Whether Σ α = 1 with α ≤ C has a solution.

    Raises:
        InfeasibleError: C·K < 1, beyond rounding.
    """
    if not num_teachers * cap >= 1 - num_teachers * _EPS:
        raise InfeasibleError(
            f"{num_teachers} weights of at most {cap:g} must be able to sum to one",
            f"{num_teachers} · {cap:g} = {num_teachers * cap:.4g}",
            f"Use a cap of at least {1 / num_teachers:.4g}.",
        )


class _ActiveSet:
    """The rows under way: α [N, K], and for each entry whether it is at zero (−1), free (0) or at the cap (1)."""

    def __init__(self, gram: Tensor, cap: float) -> None:
        self.gram, self.cap = gram, cap
        count, num_teachers, _ = gram.shape
        self.cutoff = 8 * num_teachers**2 * _EPS  # of max_k G_kk = 1: what rounding of G may add to an eigenvalue
        self.alpha = gram.new_full((count, num_teachers), 1 / num_teachers)
        self.side = gram.new_zeros((count, num_teachers), dtype=torch.int8)
        self.open = torch.arange(count, device=gram.device)

    def step(self) -> None:
        """Take one step of every open row; rows whose multipliers are all right are closed."""
        gram, alpha, side = self.gram[self.open], self.alpha[self.open], self.side[self.open]
        free = (side == 0).double()
        direction = _descent(gram, alpha, free, self.cutoff)
        ahead = torch.where(direction > 0, self.cap - alpha, alpha) / direction.abs()
        length, hit = torch.where(direction == 0, torch.inf, ahead).min(dim=-1)
        blocked = length < 1
        alpha = (alpha + length.clamp(max=1.0)[:, None] * direction).clamp(0.0, self.cap)
        at = hit[:, None]
        upper = direction.gather(1, at) > 0
        bound = self.cap * upper.double()  # of two plain numbers, torch.where would make float32
        alpha = torch.where(blocked[:, None], alpha.scatter(1, at, bound), alpha)
        side = torch.where(blocked[:, None], side.scatter(1, at, torch.where(upper, 1, -1).to(side)), side)
        wrong, which = self._multipliers(gram, alpha, side).max(dim=-1)
        release = ~blocked & (wrong > self.cutoff)
        freed = side.scatter(1, which[:, None], 0)
        self.alpha[self.open] = alpha
        self.side[self.open] = torch.where(release[:, None], freed, side)
        self.open = self.open[blocked | release]

    def _multipliers(self, gram: Tensor, alpha: Tensor, side: Tensor) -> Tensor:
        """Return how far each entry at a bound would rather leave it, [N, K]; −inf for free ones."""
        slopes = (gram * alpha.unsqueeze(-2)).sum(dim=-1)
        free = side == 0
        # With every entry at a bound, the largest slope at the cap stands for ν: then one at zero may be freed first.
        level = torch.where(side == 1, slopes, -torch.inf).amax(dim=-1)
        mean = torch.where(free, slopes, 0.0).sum(dim=-1) / free.sum(dim=-1).clamp_min(1)
        level = torch.where(free.any(dim=-1), mean, level).unsqueeze(-1)
        wrong: Tensor = torch.where(side < 0, level - slopes, slopes - level).masked_fill(free, -torch.inf)
        return wrong


def _descent(gram: Tensor, alpha: Tensor, free: Tensor, cutoff: float) -> Tensor:
    """Return the least step [N, K] among the free entries, of sum zero, to the minimum of αᵀGα over them."""
    count = free.sum(dim=-1, keepdim=True).clamp_min(1.0)
    # Q G Q for the projector Q onto steps of sum zero, entry by entry: a row then rounds alike in every batch.
    means = (gram * free.unsqueeze(-2)).sum(dim=-1) / count
    whole = ((means * free).sum(dim=-1, keepdim=True) / count).unsqueeze(-1)
    reduced = (gram - means.unsqueeze(-1) - means.unsqueeze(-2) + whole) * free.unsqueeze(-1) * free.unsqueeze(-2)
    slopes = (gram * alpha.unsqueeze(-2)).sum(dim=-1)
    slopes = (slopes - (slopes * free).sum(dim=-1, keepdim=True) / count) * free
    values, vectors = eigh(reduced)
    along = (vectors * slopes.unsqueeze(-1)).sum(dim=-2)
    along = torch.where(values > cutoff, along / values, 0.0)
    step: Tensor = -(vectors * along.unsqueeze(-2)).sum(dim=-1) * free
    return (step - (step * free).sum(dim=-1, keepdim=True) / count) * free
