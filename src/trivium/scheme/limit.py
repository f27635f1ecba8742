"""An operator held to an influence budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from trivium.errors import require
from trivium.simplex.limit import limit_influence
from trivium.weighting.base import Features, Operator
from trivium.weighting.features import Range


@dataclass(frozen=True)
class Limit(Operator):
    """log w ↦ max(log w, max log w − B), normalized: β(w) ≤ B whatever the part does (T3).

    Order is kept weakly and the regularity constant does not grow. Cost O(K).
    """

    part: Operator
    budget: float

    def __post_init__(self) -> None:
        require(
            math.isfinite(self.budget) and self.budget >= 0,
            "an influence budget must be a number ≥ 0, in nats",
            self.budget,
            "4 nats let one teacher outweigh another 55 to 1.",
        )

    @property
    def ranges(self) -> Mapping[str, Range]:
        return self.part.ranges

    def log_weights(self, features: Features) -> Tensor:
        return limit_influence(self.part.log_weights(features), self.budget)

    def formula(self) -> str:
        return f"limit({self.part.formula()} | β ≤ {self.budget:g})"
