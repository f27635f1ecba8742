"""Validation skill: a teacher that does well on a task's validation text weighs more on that task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trivium.weighting.base import Features, ScoreRule
from trivium.weighting.features import BUILT_IN, Range, Scale


@dataclass(frozen=True)
class Skill(ScoreRule):
    """w_k ∝ exp(−strength · ℓ_k), ℓ_k teacher k's mean validation loss on the example's task, nats a token.

    Args:
        strength: weight a nat of validation loss.
        budget: influence budget in nats (T3); None leaves strength · 12.

    Constants: β = min(budget, 12·strength), L = 2·strength in the sup metric of the losses. Cost O(K).
    Source: static weights softmax(τ · validation score), with the range of the score stated.

    >>> import torch
    >>> Skill(strength=1.0).log_weights({"validation_loss": torch.tensor([2.0, 2.0])}).exp()
    tensor([0.5000, 0.5000])
    """

    strength: float = 1.0
    budget: float | None = None
    scale: Scale = "task"
    name: ClassVar[str] = "skill"
    ranges: ClassVar[Mapping[str, Range]] = {"validation_loss": BUILT_IN["validation_loss"]}

    def score(self, features: Features) -> Tensor:
        return -self.strength * features["validation_loss"]

    def slopes(self) -> Mapping[str, float]:
        return {"validation_loss": -self.strength}

    def formula(self) -> str:
        return f"softmax(−{self.strength:g}·validation_loss{self._limit()})"
