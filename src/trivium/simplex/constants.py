"""What is known of a weighting operator over its whole feature box.

A :class:`Constants` says, for every input u in the box, log(w_j/w_k) ≥ ``gap[j, k]``, and for any two inputs
d_H(w(u), w(u′)) ≤ Σ_f ``regularity[f]``·‖u_f − u′_f‖_∞. What a composition makes of the constants of its parts stands
on its class, with the proof (:mod:`trivium.scheme`).

Soundness in float64: bounds are rounded outward (a sum of lower bounds is lowered by one ulp where rounding went
up, logarithms by 8·2⁻⁵²·(1 + |x|), floors and caps by (K + 8)·2⁻⁵² relative), so what is stated is true in exact
arithmetic of the parts' constants. Weights that are themselves computed in a dtype may exceed them by that dtype's
rounding, :func:`trivium.simplex.rounding.weight_slack` and :func:`~trivium.simplex.rounding.log_slack`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trivium.errors import require
from trivium.former import renamed
from trivium.simplex.order import Order
from trivium.simplex.rounding import add_down, up


@renamed(teachers="num_teachers", gap="log_ratio", regularity="lipschitz", margin="order_margin")
@dataclass(frozen=True, eq=False)
class Constants:
    """Bounds that hold for every input of the feature box.

    Args:
        log_ratio: K×K float64, gap[j, k] ≤ log(w_j/w_k) in nats; diagonal 0; -inf where nothing is known.
        lipschitz: L_f per feature name, in nats per unit of that feature (sup norm); +inf where not continuous.
        known_floor, known_cap: bounds of min w and max w that the gaps do not express, as a projection has.

    Raises:
        InputError: a gap not square, not 0 on the diagonal, NaN, +inf, or contradictory; a negative or NaN regularity.
    """

    log_ratio: Tensor
    lipschitz: Mapping[str, float] = field(default_factory=dict)
    known_floor: float = 0.0
    known_cap: float = 1.0

    def __post_init__(self) -> None:
        log_ratio = self.log_ratio.detach().to(torch.float64).cpu().clone()
        require(
            log_ratio.ndim == 2 and log_ratio.shape[0] == log_ratio.shape[1] >= 1,
            "a gap matrix must be K×K",
            tuple(log_ratio.shape),
        )
        require(
            bool((log_ratio.diagonal() == 0).all()),
            "a gap matrix has zeros on its diagonal",
            log_ratio.diagonal().tolist(),
        )
        require(bool((log_ratio < torch.inf).all()), "gaps must be numbers below +inf", log_ratio.tolist())
        contradiction = float((log_ratio + log_ratio.T).max())
        require(contradiction <= 1e-9, "gaps in both directions cannot both be positive", f"{contradiction:g} nats")
        for name, constant in self.lipschitz.items():
            require(constant >= 0.0, f"the regularity constant of feature {name!r} must be ≥ 0", constant)
        object.__setattr__(self, "log_ratio", log_ratio)
        object.__setattr__(self, "lipschitz", dict(self.lipschitz))

    @property
    def num_teachers(self) -> int:
        """K."""
        return self.log_ratio.shape[0]

    @property
    def influence(self) -> float:
        """β = max over pairs of log(w_k/w_j), in nats: the largest −gap."""
        return max(0.0, -float(self.log_ratio.min()))

    @property
    def total_lipschitz(self) -> float:
        """L = Σ_f L_f: the constant for the sup metric over all features together."""
        return up(sum(self.lipschitz.values()), steps=len(self.lipschitz) if len(self.lipschitz) > 1 else 0)

    @property
    def floors(self) -> Tensor:
        """[K] float64 lower bounds: w_k = 1/Σ_j w_j/w_k ≥ 1/Σ_j e^{−gap[k, j]} (T3), and ≥ known_floor."""
        return (1 / (-self.log_ratio).exp().sum(dim=1) * (1 - self._slack)).clamp(min=self.known_floor)

    @property
    def caps(self) -> Tensor:
        """[K] float64 upper bounds: w_k ≤ 1/Σ_j e^{gap[j, k]} (T3), and ≤ known_cap."""
        return (1 / self.log_ratio.exp().sum(dim=0) * (1 + self._slack)).clamp(max=self.known_cap)

    @property
    def floor(self) -> float:
        """min w over the box is at least this."""
        return float(self.floors.min())

    @property
    def cap(self) -> float:
        """max w over the box is at most this."""
        return float(self.caps.max())

    def order_margin(self, order: Order) -> float:
        """Return the largest m for which W-S holds: min over pairs (j safer than k) of gap[j, k]; +inf without
        pairs."""
        require(
            order.num_teachers == self.num_teachers,
            f"the safety order must be over {self.num_teachers} teachers",
            order.tiers,
        )
        return min((float(self.log_ratio[j, k]) for j, k in order.pairs()), default=math.inf)

    @property
    def _slack(self) -> float:
        # exp(0) = 1 and its sums are exact, so uniform weights keep the floor and cap 1/K to the bit.
        return (self.num_teachers + 8) * 2.0**-52 if bool((self.log_ratio != 0).any()) else 0.0


@renamed(teachers="num_teachers")
def uniform(num_teachers: int) -> Constants:
    """w = 1/K at every input: all gaps 0, nothing to be regular in. Neutral in a product (T2)."""
    return Constants(torch.zeros(num_teachers, num_teachers, dtype=torch.float64))


@renamed(teachers="num_teachers", regularity="lipschitz")
def bounded(num_teachers: int, influence: float, lipschitz: Mapping[str, float]) -> Constants:
    """Return an operator with log(max w/min w) ≤ β: every gap is −β. This is what a softmax of scores of range β has
    (T3)."""
    require(influence >= 0.0, "an influence budget must be a number of nats ≥ 0", influence)
    log_ratio = torch.full((num_teachers, num_teachers), -influence, dtype=torch.float64)
    return Constants(log_ratio.fill_diagonal_(0.0), lipschitz)


def fixed(log_w: Tensor) -> Constants:
    """Return weights that no feature changes: gap[j, k] = log w_j − log w_k exactly, no regularity needed.

    Raises:
        InputError: a log weight that is not finite (W-P).
    """
    require(log_w.ndim == 1 and bool(log_w.isfinite().all()), "fixed log weights must be K finite numbers", log_w)
    column = log_w.detach().double().cpu()
    return Constants(add_down(column[:, None], -column[None, :]))
