"""An operator held to an influence budget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trivium.errors import require
from trivium.scheme.composition import Key, Wrapper
from trivium.scheme.derivation import Derived
from trivium.scheme.words import most
from trivium.simplex.constants import Constants
from trivium.simplex.geometry import log_normalize
from trivium.simplex.rounding import lower_log
from trivium.weighting.base import Features


@dataclass(frozen=True)
class ClampInfluence(Wrapper):
    """log w ↦ max(log w, max log w − B), normalized: β(w) ≤ B whatever the part does (T3).

    Teachers further than B below the leader are raised to that distance, one of weight zero too. Monotone and commuting
    with an added constant, so order is kept weakly and the regularity constant does not grow (T6); the identity where
    the influence is at most B. Cost O(K); differentiable almost everywhere.

    >>> from trivium.weighting.token.entropy import Entropy
    >>> w = ClampInfluence(Entropy(), 2.0).log_weights({"entropy": torch.tensor([0.0, 9.0, 12.0])})
    >>> [round(x, 4) for x in (w - w.max()).tolist()]
    [0.0, -2.0, -2.0]
    """

    budget: float
    key: ClassVar = Key("budget", "influence in nats at which its weights are cut off", turn=2, limits={"ge": 0})

    def __post_init__(self) -> None:
        require(
            math.isfinite(self.budget) and self.budget >= 0,
            "an influence budget must be a number ≥ 0, in nats",
            self.budget,
            "4 nats let one teacher outweigh another 55 to 1.",
        )

    def log_weights(self, features: Features) -> Tensor:
        log_w = self.part.log_weights(features)
        # Measured from the leader, so that large scores do not cost the budget its last digits.
        return log_normalize((log_w - log_w.amax(dim=-1, keepdim=True)).clamp_min(-self.budget))

    def formula(self) -> str:
        return f"limit({self.part.formula()} | β ≤ {self.budget:g})"

    def constants(self, part: Constants) -> Constants:
        """L is kept, gap′ = max(gap, −B), or min(gap, max(0, B − U_j)) where it is positive.

        *Proof.* The map is monotone and commutes with adding a constant, so it is non-expansive in d_H: L is kept.
        Write M = max l, p = M − l_j, q = M − l_k ≥ 0; then l′_j − l′_k = min(q, B) − min(p, B), and q − p ≥ g =
        gap[j, k]. If g ≤ 0: raising q to max(0, p + g) is the worst case, giving at least max(g, −B), attained at
        p = min(−g, B). If g > 0: min(p + g, B) − min(p, B) does not rise in p, and p ≤ U_j = max_i −gap[j, i]; so the
        least is at U_j: a margin survives as far as the budget reaches, and order always does. Shrinking differences
        that are measured from the maximum keeps known floors and caps (as for :class:`~trivium.scheme.power.Power`).
        """
        depth = (-part.log_ratio).amax(dim=1, keepdim=True)
        reach = lower_log((self.budget - depth).clamp(min=0.0)).clamp(min=0.0)
        log_ratio = torch.where(
            part.log_ratio > 0, torch.minimum(part.log_ratio, reach), part.log_ratio.clamp(min=-self.budget)
        )
        return Constants(log_ratio, part.lipschitz, part.known_floor, part.known_cap)

    def after(self, part: Derived) -> Derived:
        whole, budget = self.constants(part.constants), f"{self.budget:g}"
        return part.then(
            f"limit({{0}} | β ≤ {budget})",
            whole,
            f"T3: log w ≥ max log w − {budget} before normalizing: "
            f"β = min({most(part.constants.influence)}, {budget}) = {most(whole.influence)} nats",
            "T6: raising to a moving bound is monotone and shift-invariant: L kept",
        )
