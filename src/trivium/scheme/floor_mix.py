"""An operator lifted to a floor by mixing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from trivium.errors import require
from trivium.scheme.mix import mix_with_uniform
from trivium.simplex.mixing import share_of
from trivium.weighting.base import Features, Operator
from trivium.weighting.features import Range


@dataclass(frozen=True)
class FloorMix(Operator):
    """w ↦ a + (1 − K·a)·w, 0 ≤ a ≤ 1/K: the mixture with uniform that makes a the floor, whatever the part does.

    Smooth where the projection (:class:`~trivium.scheme.conform.Conform`) is the least change: every weight moves, also
    those above the floor. Order is kept weakly, the regularity constant shrinks. Cost O(K).

    Raises:
        InputError: a negative floor. InfeasibleError: K·a above one, when K is known (T1).
    """

    part: Operator
    floor: float

    def __post_init__(self) -> None:
        require(
            math.isfinite(self.floor) and 0.0 <= self.floor <= 1.0,
            "a floor must lie between 0 and 1/K",
            self.floor,
            "0.05 leaves three teachers 0.85 to share.",
        )

    @property
    def ranges(self) -> Mapping[str, Range]:
        return self.part.ranges

    def log_weights(self, features: Features) -> Tensor:
        log_w = self.part.log_weights(features)
        return mix_with_uniform(log_w, share_of(self.floor, log_w.shape[-1]))

    def formula(self) -> str:
        return f"floor({self.part.formula()} | w ≥ {self.floor:g})"
