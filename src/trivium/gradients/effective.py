"""The weights in effect after each teacher's gradient was scaled, clipped, or otherwise combined."""

from __future__ import annotations

import torch
from torch import Tensor

from trivium.errors import require
from trivium.simplex.geometry import influence


def clip_factors(norms: Tensor, limit: float) -> Tensor:
    """c_k = min(1, c/‖g_k‖) [...]: what clipping each gradient to norm c multiplies it by; 1 where it is zero.

    Raises:
        InputError: a limit that is not positive, or a norm that is negative or not a number.

    >>> clip_factors(torch.tensor([0.5, 2.0, 0.0]), 1.0)
    tensor([1.0000, 0.5000, 1.0000])
    """
    require(limit > 0, "a clipping norm must be a number > 0", limit)
    require(bool((norms >= 0).all()), "norms must be numbers ≥ 0", norms.tolist())
    return torch.where(norms > limit, limit / norms, torch.ones_like(norms))


def effective_weights(log_w: Tensor, factors: Tensor) -> Tensor:
    """log ω_k = log w_k + log c_k [..., K]: the weights of Σ_k w_k·(c_k·g_k) over the gradients themselves.

    They sum to at most one, as c_k ≤ 1; the rest is how much shorter the step is. Their influence:
    β(ω) = log max_k w_k·c_k − log min_k w_k·c_k ≤ β(w) + log(max c/min c), since the maximum of a product is at most
    the product of the maxima, and likewise for the minimum. It is attained where the heaviest teacher is clipped least
    and the lightest most. A factor common to all (clipping the sum, not its parts) leaves every ratio, hence β, alone.

    Raises:
        InputError: a factor that is negative or not a number.

    >>> w = torch.tensor([0.5, 0.5]).log()
    >>> effective_weights(w, torch.tensor([1.0, 0.25])).exp()
    tensor([0.5000, 0.1250])
    """
    require(bool((factors >= 0).all()), "factors of gradients must be numbers ≥ 0", factors.tolist())
    return log_w + factors.log()


def influence_of_factors(factors: Tensor) -> Tensor:
    """log(max c/min c) [...] in nats: what factors [..., K] may add to the influence of any weights."""
    return influence(factors.log())


def weights_of_direction(gradients: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """ω with Σ_k ω_k g_k nearest to a direction d, and the part of d that is left: ‖d − Σ ω_k g_k‖/‖d‖ (0 for d = 0).

    For modifications that are known by their result alone: PCGrad, CAGrad, UPGrad, an optimizer's own. The least-norm ω
    where gradients depend on each other; weights of any sign and sum.

    Args:
        gradients: [..., K, P].
        direction: [..., P].

    Returns:
        ω [..., K] and the rest [...], float64. A rest that is not small says that d is no combination of the gradients,
        as after Adam or weight decay, and that ω does not describe it.

    Raises:
        InputError: shapes that do not fit.

    Cost: one singular value decomposition, O(K²·P) a row.

    >>> g = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> omega, rest = weights_of_direction(g, torch.tensor([0.5, -1.0]))
    >>> omega.tolist(), rest.item()
    ([0.5, -0.5], 0.0)
    """
    require(
        gradients.ndim >= 2 and gradients.shape[-1] == direction.shape[-1],
        "a direction must have as many entries as a gradient",
        f"{tuple(direction.shape)} for {tuple(gradients.shape)}",
    )
    g, d = gradients.double(), direction.double()
    omega: Tensor = (torch.linalg.pinv(g.mT) @ d.unsqueeze(-1)).squeeze(-1)
    left = (d - (omega.unsqueeze(-2) @ g).squeeze(-2)).norm(dim=-1)
    length = d.norm(dim=-1)
    return omega, torch.where(length > 0, left / length.clamp_min(1e-300), 0.0)
