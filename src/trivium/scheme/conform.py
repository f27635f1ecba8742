"""An operator projected into a conforming set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from trivium.simplex.conforming import ConformingSet
from trivium.simplex.projection import conforming_projection
from trivium.weighting.base import Features, Operator
from trivium.weighting.features import Range


@dataclass(frozen=True)
class Conform(Operator):
    """w ↦ Π_C(w) = argmin over y in C(floor, cap, order, margin) of KL(y‖w) (T6).

    Floor, cap and order hold whatever the part does, the identity where they held already, and the regularity
    constant does not grow. Cost O(K²).
    """

    part: Operator
    conforming: ConformingSet

    @property
    def ranges(self) -> Mapping[str, Range]:
        return self.part.ranges

    def log_weights(self, features: Features) -> Tensor:
        return conforming_projection(self.part.log_weights(features), self.conforming)

    def formula(self) -> str:
        c = self.conforming
        bounds = [f"{c.floor:g} ≤ w ≤ {c.cap:g}"]
        if c.order is not None:
            tiers = " > ".join(" = ".join(str(k) for k in tier) for tier in c.order.tiers)
            bounds.append(f"{tiers} by {c.margin:g} nats" if c.margin else tiers)
        return f"project({self.part.formula()} | {', '.join(bounds)})"
