"""A scale made weaker or stronger."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from trivium.errors import require
from trivium.scheme.composition import Key, Wrapper
from trivium.scheme.derivation import Derived, Step
from trivium.scheme.words import most
from trivium.simplex.constants import Constants, bounded, uniform
from trivium.simplex.rounding import scale_down, up
from trivium.weighting.base import Features


@dataclass(frozen=True)
class Power(Wrapper):
    """w_k ∝ w_{s,k}^α with strength α ≥ 0: α = 0 is uniform, α = 1 changes nothing.

    Influence, regularity and order gaps are multiplied by α (T2). Cost O(K).
    """

    strength: float
    key: ClassVar = Key("strength", "exponent α of the rule's weights in the product", 4, {"ge": 0}, default=1.0)

    def __post_init__(self) -> None:
        require(
            math.isfinite(self.strength) and self.strength >= 0,
            "the strength of a scale must be a number ≥ 0",
            self.strength,
            "A negative strength would reverse the rule.",
        )

    def log_weights(self, features: Features) -> Tensor:
        return torch.log_softmax(self.strength * self.part.log_weights(features), dim=-1)

    def formula(self) -> str:
        return f"({self.part.formula()})^{self.strength:g}"

    def constants(self, part: Constants) -> Constants:
        """Gaps and regularities are multiplied by α (T2); nothing is known where a weight may be zero.

        *Proof.* Logs are. For α ≤ 1 known bounds stay: min w′ = 1/Σ_j (w_j/min w)^α ≥ 1/Σ_j w_j/min w = min w, since
        each ratio is ≥ 1; likewise max w′ ≤ max w. Zero to the power zero is no number: 0 · (−∞).
        """
        if not math.isfinite(part.influence):
            return bounded(part.num_teachers, math.inf, dict.fromkeys(self.ranges, math.inf))
        alpha = self.strength
        if alpha == 0.0:
            return uniform(part.num_teachers)
        lipschitz = {name: up(alpha * constant, steps=int(alpha != 1.0)) for name, constant in part.lipschitz.items()}
        kept = (part.known_floor, part.known_cap) if alpha <= 1.0 else (0.0, 1.0)
        return Constants(scale_down(part.log_ratio, alpha), lipschitz, *kept)

    def after(self, part: Derived) -> Derived:
        before, whole, alpha = part.constants, self.constants(part.constants), f"{self.strength:g}"
        if not math.isfinite(before.influence):
            steps = (*part.steps, Step(f"{{0}}^{alpha}: nothing known, since {{0}} may be zero", back=(1,)))
            proper = part.proper and self.strength > 0
            return replace(part, constants=whole, steps=steps, normalized=False, proper=proper, pareto="")
        lines = [f"T2: strength scales influence: {alpha} · {most(before.influence)} = {most(whole.influence)} nats"]
        if before.lipschitz:
            lines.append(
                f"T2: and regularity: {alpha} · {most(before.total_lipschitz)} = {most(whole.total_lipschitz)}"
            )
        return part.then(f"{{0}}^{alpha}", whole, *lines, normalized=True)
