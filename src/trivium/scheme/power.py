"""A scale made weaker or stronger."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.errors import require
from trivium.weighting.base import Features, Operator
from trivium.weighting.features import Range


@dataclass(frozen=True)
class Power(Operator):
    """w_k ∝ w_{s,k}^α with strength α ≥ 0: α = 0 is uniform, α = 1 changes nothing.

    Influence, regularity and order gaps are multiplied by α (T2). Cost O(K).
    """

    part: Operator
    strength: float

    def __post_init__(self) -> None:
        require(
            math.isfinite(self.strength) and self.strength >= 0,
            "the strength of a scale must be a number ≥ 0",
            self.strength,
            "A negative strength would reverse the rule.",
        )

    @property
    def ranges(self) -> Mapping[str, Range]:
        return self.part.ranges

    def log_weights(self, features: Features) -> Tensor:
        return torch.log_softmax(self.strength * self.part.log_weights(features), dim=-1)

    def formula(self) -> str:
        return f"({self.part.formula()})^{self.strength:g}"
