"""An operator projected into a conforming set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.errors import require
from trivium.scheme.composition import Wrapper
from trivium.scheme.derivation import Derived, escape
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.constants import Constants
from trivium.simplex.order import Order
from trivium.simplex.projection import conforming_projection
from trivium.simplex.rounding import add_down, lower_log, scale_down
from trivium.weighting.base import Features


@dataclass(frozen=True)
class Project(Wrapper):
    """w ↦ Π_C(w) = argmin over y in C(floor, cap, order, margin) of KL(y‖w) (T6).

    Floor, cap and order hold whatever the part does, the identity where they held already, and the regularity
    constant does not grow. Cost O(K²).
    """

    conforming: ConformingSet

    def log_weights(self, features: Features) -> Tensor:
        return conforming_projection(self.part.log_weights(features), self.conforming)

    def formula(self) -> str:
        c = self.conforming
        bounds = [f"{c.floor:g} ≤ w ≤ {c.cap:g}"]
        if c.order is not None:
            bounds.append(_tiers(c.order) + (f" by {c.order_margin:g} nats" if c.order_margin else ""))
        return f"project({self.part.formula()} | {', '.join(bounds)})"

    def constants(self, part: Constants) -> Constants:
        """L is kept, floor and cap are those of C(a, b, ≽, m), and each gap is the largest of three bounds.

        *Proof.* Π is non-expansive in d_H, so L is kept; its range is C, which gives floor a and cap b. If the part's
        constants already put every w in C, Π is the identity there and all of them are kept. Otherwise, for every pair:

        1. w_j ≥ a′ = max(a, 1 − (K−1)b) and w_k ≤ b′ = min(b, 1 − (K−1)a): log(a′/b′).
        2. j safer than k: m·(r_j − r_k), through the tiers between them.
        3. Π regresses t = log w − m·r to v, ascending in r, shifts and clips v, and adds m·r. Suppose v_j < v_k. Moving
           down the part of k's level set that is k or less safe is feasible, so v_k ≤ t_l for an l in it; likewise
           v_j ≥ t_i for an i of j's level set that is j or safer. As v_i < v_l, r_i ≤ r_l. Shifts cancel, and clipping,
           monotone and 1-Lipschitz, keeps a lower bound that is ≤ 0: with i and l over those teachers,
           gap′ ≥ min(0, min gap[i, l] − m(r_i − r_l)) + m(r_j − r_k), inside a tier simply min(0, gap[j, k]).
        """
        goal, num_teachers = self.conforming, part.num_teachers
        floor, cap, order_margin, order = goal.floor, goal.cap, goal.order_margin, goal.order
        require(goal.num_teachers == num_teachers, f"the conforming set must be over {num_teachers} teachers", goal)
        if part.floor >= floor and part.cap <= cap and (order is None or part.order_margin(order) >= order_margin):
            return Constants(part.log_ratio, part.lipschitz, max(part.known_floor, floor), min(part.known_cap, cap))
        ulps = 4 * 2.0**-52  # of 1, since the subtractions below may cancel
        least, most = max(floor, 1 - (num_teachers - 1) * cap - ulps), min(cap, 1 - (num_teachers - 1) * floor + ulps)
        by_range = lower_log(torch.tensor(least / most, dtype=torch.float64).log()) if least > 0 else -torch.inf
        rank = torch.tensor(goal.ranks, dtype=torch.float64)
        climb = scale_down(rank[:, None] - rank[None, :], order_margin)  # ≤ m(r_j − r_k)
        safer, same = rank[:, None] > rank[None, :], torch.eye(num_teachers, dtype=torch.bool)
        above, below = same | safer.T, same | safer  # above[j, i]: i is j or safer; below[k, l]: l is k or less safe
        shifted = add_down(part.log_ratio, climb.T).masked_fill(safer, 0.0)  # gap[i, l] − m(r_i − r_l) where r_i ≤ r_l
        worst = torch.where(above[:, :, None], shifted[None], torch.inf).amin(dim=1)  # [j, l]
        worst = torch.where(below[None], worst[:, None, :], torch.inf).amin(dim=2)  # [j, k]
        log_ratio = add_down(worst.clamp(max=0.0), climb).clamp(min=by_range)
        log_ratio = torch.where(safer, torch.maximum(log_ratio, climb), log_ratio)
        return Constants(log_ratio.fill_diagonal_(0.0), part.lipschitz, floor, cap)

    def after(self, part: Derived) -> Derived:
        whole, goal = self.constants(part.constants), self.conforming
        lines = [f"T6: the range of the projection is the set: floor {goal.floor:g}, cap {goal.cap:g}"]
        if goal.order is not None:
            lines.append(f"T6: so is the order {_tiers(goal.order)}, by {goal.order_margin:g} nats")
        lines.append("T6: sorting, shifting and clipping are non-expansive in d_H: L kept")
        return part.then(f"project({{0}} | {escape(str(goal))})", whole, *lines)


def _tiers(order: Order) -> str:
    return " > ".join(" = ".join(str(teacher) for teacher in tier) for tier in order.tiers)
