"""An operator whose influence is squashed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from trivium.errors import require
from trivium.simplex.squash import squash
from trivium.weighting.base import Features, Operator
from trivium.weighting.features import Range


@dataclass(frozen=True)
class Squash(Operator):
    """log w ↦ B·tanh((log w − max log w)/B), normalized: β(w) < B whatever the part does (T3).

    The smooth form of :class:`~trivium.scheme.limit.Limit`: strict order is kept and the regularity constant does not
    grow (T4). Cost O(K).
    """

    part: Operator
    bound: float

    def __post_init__(self) -> None:
        require(
            0.0 < self.bound < math.inf,
            "the bound of a squash must be a positive number of nats",
            self.bound,
            "4 nats let one teacher outweigh another 55 to 1.",
        )

    @property
    def ranges(self) -> Mapping[str, Range]:
        return self.part.ranges

    def log_weights(self, features: Features) -> Tensor:
        return squash(self.part.log_weights(features), self.bound)

    def formula(self) -> str:
        return f"squash({self.part.formula()} | β < {self.bound:g})"
