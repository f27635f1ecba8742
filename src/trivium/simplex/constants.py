"""What is known of a weighting operator over its whole feature box, and how composition changes it (T2–T6).

A :class:`Constants` says, for every input u in the box, log(w_j/w_k) ≥ ``gap[j, k]``, and for any two inputs
d_H(w(u), w(u′)) ≤ Σ_f ``regularity[f]``·‖u_f − u′_f‖_∞. Each function below takes constants of the parts and returns
constants of the whole; its docstring is the proof.

Soundness in float64: bounds are rounded outward (a sum of lower bounds is lowered by one ulp where rounding went
up, logarithms by 8·2⁻⁵²·(1 + |x|), floors and caps by (K + 8)·2⁻⁵² relative), so what is stated is true in exact
arithmetic of the parts' constants. Weights that are themselves computed in a dtype may exceed them by that dtype's
rounding, :func:`trivium.simplex.rounding.weight_slack` and :func:`~trivium.simplex.rounding.log_slack`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trivium.errors import require
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.order import Order
from trivium.simplex.rounding import add_down, lower_log, scale_down, up


@dataclass(frozen=True, eq=False)
class Constants:
    """Bounds that hold for every input of the feature box.

    Args:
        gap: K×K float64, gap[j, k] ≤ log(w_j/w_k) in nats; diagonal 0; -inf where nothing is known.
        regularity: L_f per feature name, in nats per unit of that feature (sup norm); +inf where not continuous.
        known_floor, known_cap: bounds of min w and max w that the gaps do not express, as a projection has.

    Raises:
        InputError: a gap not square, not 0 on the diagonal, NaN, +inf, or contradictory; a negative or NaN regularity.
    """

    gap: Tensor
    regularity: Mapping[str, float] = field(default_factory=dict)
    known_floor: float = 0.0
    known_cap: float = 1.0

    def __post_init__(self) -> None:
        gap = self.gap.detach().to(torch.float64).cpu().clone()
        require(gap.ndim == 2 and gap.shape[0] == gap.shape[1] >= 1, "a gap matrix must be K×K", tuple(gap.shape))
        require(bool((gap.diagonal() == 0).all()), "a gap matrix has zeros on its diagonal", gap.diagonal().tolist())
        require(bool((gap < torch.inf).all()), "gaps must be numbers below +inf", gap.tolist())
        contradiction = float((gap + gap.T).max())
        require(contradiction <= 1e-9, "gaps in both directions cannot both be positive", f"{contradiction:g} nats")
        for name, constant in self.regularity.items():
            require(constant >= 0.0, f"the regularity constant of feature {name!r} must be ≥ 0", constant)
        object.__setattr__(self, "gap", gap)
        object.__setattr__(self, "regularity", dict(self.regularity))

    @property
    def teachers(self) -> int:
        """K."""
        return self.gap.shape[0]

    @property
    def influence(self) -> float:
        """β = max over pairs of log(w_k/w_j), in nats: the largest −gap."""
        return max(0.0, -float(self.gap.min()))

    @property
    def lipschitz(self) -> float:
        """L = Σ_f L_f: the constant for the sup metric over all features together."""
        return up(sum(self.regularity.values()), steps=len(self.regularity) if len(self.regularity) > 1 else 0)

    @property
    def floors(self) -> Tensor:
        """[K] float64 lower bounds: w_k = 1/Σ_j w_j/w_k ≥ 1/Σ_j e^{−gap[k, j]} (T3), and ≥ known_floor."""
        return (1 / (-self.gap).exp().sum(dim=1) * (1 - self._slack)).clamp(min=self.known_floor)

    @property
    def caps(self) -> Tensor:
        """[K] float64 upper bounds: w_k ≤ 1/Σ_j e^{gap[j, k]} (T3), and ≤ known_cap."""
        return (1 / self.gap.exp().sum(dim=0) * (1 + self._slack)).clamp(max=self.known_cap)

    @property
    def floor(self) -> float:
        """min w over the box is at least this."""
        return float(self.floors.min())

    @property
    def cap(self) -> float:
        """max w over the box is at most this."""
        return float(self.caps.max())

    def margin(self, order: Order) -> float:
        """The largest m for which W-S holds: min over pairs (j safer than k) of gap[j, k]; +inf without pairs."""
        require(order.teachers == self.teachers, f"the safety order must be over {self.teachers} teachers", order.tiers)
        return min((float(self.gap[j, k]) for j, k in order.pairs()), default=math.inf)

    @property
    def _slack(self) -> float:
        # exp(0) = 1 and its sums are exact, so uniform weights keep the floor and cap 1/K to the bit.
        return (self.teachers + 8) * 2.0**-52 if bool((self.gap != 0).any()) else 0.0


def uniform(teachers: int) -> Constants:
    """w = 1/K at every input: all gaps 0, nothing to be regular in. Neutral for :func:`product` (T2)."""
    return Constants(torch.zeros(teachers, teachers, dtype=torch.float64))


def bounded(teachers: int, influence: float, regularity: Mapping[str, float]) -> Constants:
    """An operator with log(max w/min w) ≤ β: every gap is −β. This is what a softmax of scores of range β has (T3)."""
    require(influence >= 0.0, "an influence budget must be a number of nats ≥ 0", influence)
    gap = torch.full((teachers, teachers), -influence, dtype=torch.float64)
    return Constants(gap.fill_diagonal_(0.0), regularity)


def fixed(log_w: Tensor) -> Constants:
    """Weights that no feature changes: gap[j, k] = log w_j − log w_k exactly, no regularity needed.

    Raises:
        InputError: a log weight that is not finite (W-P).
    """
    require(log_w.ndim == 1 and bool(log_w.isfinite().all()), "fixed log weights must be K finite numbers", log_w)
    column = log_w.detach().double().cpu()
    return Constants(add_down(column[:, None], -column[None, :]))


def product(parts: Sequence[Constants]) -> Constants:
    """w ∝ Π_s w_s. Gaps add and regularities add (T3, T4, T5).

    *Proof.* log(w_j/w_k) = Σ_s log(w_{s,j}/w_{s,k}) ≥ Σ_s gap_s[j, k]: the normalizer cancels. d_H is a seminorm of
    log u − log v, so d_H(w, w′) ≤ Σ_s d_H(w_s, w_s′) ≤ Σ_s Σ_f L_{s,f}·‖u_f − u_f′‖. Known floors and caps do not
    survive (T3) unless all parts but one are uniform, which is neutral (T2).
    """
    require(len(parts) >= 1, "a product needs at least one part", len(parts))
    teachers = parts[0].teachers
    counts = [part.teachers for part in parts]
    require(counts == [teachers] * len(parts), "the parts of a product must weight the same teachers", counts)
    gap, regularity = torch.zeros(teachers, teachers, dtype=torch.float64), dict[str, float]()
    for part in parts:
        gap = add_down(gap, part.gap)
        for name, constant in part.regularity.items():
            regularity[name] = up(regularity[name] + constant, steps=1) if name in regularity else constant
    moving = [part for part in parts if bool((part.gap != 0).any())]
    alone = moving[0] if len(moving) == 1 else uniform(teachers)
    return Constants(gap, regularity, alone.known_floor, alone.known_cap)


def power(part: Constants, alpha: float) -> Constants:
    """w^α/Σ w^α, α ≥ 0: gaps and regularities are multiplied by α (T2).

    *Proof.* Logs are. For α ≤ 1 known bounds stay: min w′ = 1/Σ_j (w_j/min w)^α ≥ 1/Σ_j w_j/min w = min w, since
    each ratio is ≥ 1; likewise max w′ ≤ max w.

    Raises:
        InputError: α negative or not finite.
    """
    require(0.0 <= alpha < math.inf, "a strength must be a finite number ≥ 0", alpha)
    if alpha == 0.0:
        return uniform(part.teachers)
    regularity = {name: up(alpha * constant, steps=int(alpha != 1.0)) for name, constant in part.regularity.items()}
    kept = (part.known_floor, part.known_cap) if alpha <= 1.0 else (0.0, 1.0)
    return Constants(scale_down(part.gap, alpha), regularity, *kept)


def limited(part: Constants, budget: float) -> Constants:
    """The constants of :func:`trivium.simplex.limit.limit_influence`: l ↦ max(l, max l − B), then normalized.

    *Proof.* The map is monotone and commutes with adding a constant, so it is non-expansive in d_H: L is kept.
    Write M = max l, p = M − l_j, q = M − l_k ≥ 0; then l′_j − l′_k = min(q, B) − min(p, B), and q − p ≥ g = gap[j, k].
    If g ≤ 0: raising q to max(0, p + g) is the worst case, giving at least max(g, −B), attained at p = min(−g, B).
    If g > 0: min(p + g, B) − min(p, B) does not rise in p, and p ≤ U_j = max_i −gap[j, i]; so the least is at U_j:
    gap′ = min(g, max(0, B − U_j)): a margin survives as far as the budget reaches, and order always does.
    Shrinking differences that are measured from the maximum keeps known floors and caps (as for :func:`power`).

    Raises:
        InputError: B negative or NaN.
    """
    require(budget >= 0.0, "an influence budget must be a number of nats ≥ 0", budget)
    if budget == math.inf:
        return part
    depth = (-part.gap).amax(dim=1, keepdim=True)
    reach = lower_log((budget - depth).clamp(min=0.0)).clamp(min=0.0)
    gap = torch.where(part.gap > 0, torch.minimum(part.gap, reach), part.gap.clamp(min=-budget))
    return Constants(gap, part.regularity, part.known_floor, part.known_cap)


def projected(part: Constants, conforming_set: ConformingSet) -> Constants:
    """The constants of the conforming projection Π onto C(a, b, ≽, m) (T6).

    *Proof.* Π is non-expansive in d_H, so L is kept; its range is C, which gives floor a and cap b. If the part's
    constants already put every w in C, Π is the identity there and all of them are kept. Otherwise, for every pair:

    1. w_j ≥ a′ = max(a, 1 − (K−1)b) and w_k ≤ b′ = min(b, 1 − (K−1)a): log(a′/b′).
    2. j safer than k: m·(r_j − r_k), through the tiers between them.
    3. Π regresses t = log w − m·r to v, ascending in r, shifts and clips v, and adds m·r. Suppose v_j < v_k. Moving
       down the part of k's level set that is k or less safe is feasible, so v_k ≤ t_l for an l in it; likewise
       v_j ≥ t_i for an i of j's level set that is j or safer. As v_i < v_l, r_i ≤ r_l. Shifts cancel, and clipping,
       monotone and 1-Lipschitz, keeps a lower bound that is ≤ 0: with i and l over those teachers,
       gap′ ≥ min(0, min gap[i, l] − m(r_i − r_l)) + m(r_j − r_k), inside a tier simply min(0, gap[j, k]).

    The largest of the three is returned.
    """
    teachers, floor, cap, margin = part.teachers, conforming_set.floor, conforming_set.cap, conforming_set.margin
    order = conforming_set.order
    require(conforming_set.teachers == teachers, f"the conforming set must be over {teachers} teachers", conforming_set)
    if part.floor >= floor and part.cap <= cap and (order is None or part.margin(order) >= margin):
        return Constants(part.gap, part.regularity, max(part.known_floor, floor), min(part.known_cap, cap))
    ulps = 4 * 2.0**-52  # of 1, since the subtractions below may cancel
    least, most = max(floor, 1 - (teachers - 1) * cap - ulps), min(cap, 1 - (teachers - 1) * floor + ulps)
    by_range = lower_log(torch.tensor(least / most, dtype=torch.float64).log()) if least > 0 else -torch.inf
    rank = torch.tensor(conforming_set.ranks, dtype=torch.float64)
    climb = scale_down(rank[:, None] - rank[None, :], margin)  # ≤ m(r_j − r_k)
    safer, same = rank[:, None] > rank[None, :], torch.eye(teachers, dtype=torch.bool)
    above, below = same | safer.T, same | safer  # above[j, i]: i is j or safer; below[k, l]: l is k or less safe
    shifted = add_down(part.gap, climb.T).masked_fill(safer, 0.0)  # gap[i, l] − m(r_i − r_l) where r_i ≤ r_l
    worst = torch.where(above[:, :, None], shifted[None], torch.inf).amin(dim=1)  # [j, l]
    worst = torch.where(below[None], worst[:, None, :], torch.inf).amin(dim=2)  # [j, k]
    gap = add_down(worst.clamp(max=0.0), climb).clamp(min=by_range)
    gap = torch.where(safer, torch.maximum(gap, climb), gap)
    return Constants(gap.fill_diagonal_(0.0), part.regularity, floor, cap)
