"""The power pool: a weighted power mean of the teachers' probabilities, between the smallest and the largest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from trivium.errors import require
from trivium.simplex.typed import Typed

#: |ρ| outside of this cannot be told from the pool's limit in floating point.
LEAST, LARGEST = 1e-12, 1e12


@final
@dataclass(frozen=True)
class PowerPool(Typed):
    r"""q(i) ∝ (Σ_k w_k p_k(i)^ρ)^{1/ρ} for a real exponent ρ ≠ 0.

    ρ = 1 is the linear pool, ρ → 0 the logarithmic one, ρ → ∞ takes the largest and ρ → −∞ the smallest probability
    that a teacher with weight gives an entry, each normalized. Near zero, with D = max_{i,j,k} abs log(p_j(i)/p_k(i)),

        max_i abs(log q_ρ(i) − log q_log(i)) ≤ abs(ρ)·D²/8,

    because (1/ρ) log Σ w e^{ρℓ} exceeds Σ wℓ by ρ/2 times a variance of numbers within D, at most D²/4, and the
    normalizer moves by as much at most. For ρ < 0 each teacher with weight has a veto, as in the log pool; for ρ > 0
    none has. It obeys A-M for every ρ and A-T(a) for none (:mod:`trivium.aggregation.claims`).

    Source: the r-norm pools of Cooke, Experts in Uncertainty (1991), ch. 11; Amari's α-means (2007), ρ = (1 − α)/2.

    Cost: O(K·V) a row, three exponentials or logarithms a teacher and entry, one running row of V numbers and a few
    temporaries beside the inputs.

    Args:
        exponent: ρ, with 1e-12 ≤ abs(ρ) ≤ 1e12.

    Raises:
        InputError: ρ is zero, NaN, or so near a limit that floating point cannot tell it from the limit.

    >>> import torch
    >>> log_p = [torch.tensor([[0.64, 0.36]]).log(), torch.tensor([[0.16, 0.84]]).log()]
    >>> PowerPool(-1.0).pool(log_p, torch.tensor([[0.5, 0.5]]).log()).exp()
    tensor([[0.3368, 0.6632]])
    """

    exponent: float = 0.5

    name: ClassVar[str] = "power"

    def __post_init__(self) -> None:
        require(
            math.isfinite(self.exponent) and LEAST <= abs(self.exponent) <= LARGEST,
            f"the exponent of a power pool must be a number with {LEAST:g} ≤ |exponent| ≤ {LARGEST:g}",
            self.exponent,
            "An exponent of 0 is the pool 'log'.",
        )

    @property
    def formula(self) -> str:
        return f"q ∝ (Σ_k w_k·p_k^ρ)^(1/ρ), ρ = {self.exponent:g}"

    def pool(self, log_p: Sequence[Tensor], log_w: Tensor) -> Tensor:
        """Return the pooled log-probabilities.

        Args:
            log_p: K tensors [..., V] of log-probabilities in nats; −inf marks an impossible entry.
            log_w: [..., K] natural logs of weights that sum to one over K; −inf is the weight 0, which is no voice.

        Returns:
            log q, [..., V], in the dtype of the inputs (half precision is computed in float32); −inf where no teacher
            with weight has mass (ρ > 0) or one has none (ρ < 0); for ρ < 0 all NaN in a row where the teachers share
            no entry, because no distribution is proportional to zero. Differentiable in both arguments.
        """
        half = torch.finfo(log_p[0].dtype).eps > torch.finfo(torch.float32).eps
        exact = [entry.float() for entry in log_p] if half else log_p
        weights = log_w.to(exact[0].dtype)
        running, total = exact[0], weights[..., 0:1]
        for k in range(1, len(exact)):
            here = weights[..., k : k + 1]
            running = power_step(running, exact[k], total, here, self.exponent)
            total = torch.logaddexp(total.clamp_min(_NEVER), here.clamp_min(_NEVER))
        return torch.log_softmax(running, dim=-1).to(log_p[0].dtype)


# Stands for log 0 among sums of weights: below any log-weight, and without the NaN gradient of logaddexp(−inf, −inf).
_NEVER = -1e30


# Below this 1 + S has lost more than a decimal digit.
_LOST = -15.0 / 16.0


def power_step(running: Tensor, entry: Tensor, log_before: Tensor, log_here: Tensor, exponent: float) -> Tensor:
    r"""Return the power mean of two log-vectors [..., V] with log-weights [..., 1], which need not sum to one.

    A power mean of K is this step K − 1 times, since a mean of means is a mean. With u + v = 1, the one of the two
    with the larger term (for ρ < 0 the smaller number) called near, and x = ρ·(each − near) ≤ 0,

        log mean = near + log(u e^{x_u} + v e^{x_v})/ρ = near + log1p(S)/ρ, S = u·expm1(x_u) + v·expm1(x_v).

    One summand of S is zero, so it keeps its relative precision, and so does log1p while S > −15/16, whatever ρ;
    below, log-sum-exp does, since there its value is above 2 and no term of it is larger. So the error is a few units
    in the last place of ``near`` and of the distance from it, for ρ = 1e-6 as for 1e6.
    """
    mine, theirs = log_before <= 0.5 * _NEVER, torch.isneginf(log_here)
    silent = mine | theirs
    log_u, log_v = log_before.masked_fill(silent, 0.0), log_here.masked_fill(silent, 0.0)
    log_total = torch.logaddexp(log_u, log_v)
    log_u, log_v = log_u - log_total, log_v - log_total
    # The mean does not depend on what is called near, so no gradient goes there, and ties share theirs by weight.
    near = (torch.maximum if exponent > 0 else torch.minimum)(running, entry).detach()
    absent = torch.isneginf(near)
    holes = bool(absent.any())
    if holes:  # filled, so that −inf − (−inf) never meets autograd
        one, other, near = (x.masked_fill(absent, 0.0) for x in (running, entry, near))
    else:
        one, other = running, entry
    x_u, x_v = (one - near) * exponent, (other - near) * exponent
    shift = torch.expm1(x_u) * log_u.exp() + torch.expm1(x_v) * log_v.exp()
    lost = shift < _LOST
    if bool(lost.any()):
        deep = torch.logaddexp(*((w.expand_as(x)[lost] + x[lost]) for w, x in ((log_u, x_u), (log_v, x_v))))
        log_mean = torch.log1p(shift.masked_fill(lost, 0.0)).masked_scatter(lost, deep)
    else:
        log_mean = torch.log1p(shift)
    mixed = near + log_mean / exponent
    if holes:
        mixed = mixed.masked_fill(absent, -math.inf)
    if bool(silent.any()):
        mixed = torch.where(theirs, running, torch.where(mine, entry, mixed))
    return mixed
