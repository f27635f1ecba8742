"""Consensus: a teacher that stands apart from the others at a position weighs less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trivium.weighting.base import Features, ScoreRule
from trivium.weighting.features import BUILT_IN, Range, Scale


@dataclass(frozen=True)
class Disagreement(ScoreRule):
    """w_k ∝ exp(−strength · TV(p_k, mean of the other teachers)).

    Args:
        strength: nats at complete disagreement.
        budget: influence budget in nats (T3); None leaves ``strength``.

    Constants: β = min(budget, strength), L = 2·strength in the sup metric of the distances. Cost O(K·V).
    With K = 2 both distances are equal, so the rule is uniform. Source: ours, bounded by construction.

    >>> import torch
    >>> Disagreement(strength=0.0).log_weights({"disagreement": torch.tensor([0.1, 0.9])}).exp()
    tensor([0.5000, 0.5000])
    """

    strength: float = 1.0
    budget: float | None = None
    scale: Scale = "token"
    name: ClassVar[str] = "disagreement"
    ranges: ClassVar[Mapping[str, Range]] = {"disagreement": BUILT_IN["disagreement"]}

    def score(self, features: Features) -> Tensor:
        return -self.strength * features["disagreement"]

    def slopes(self) -> Mapping[str, float]:
        return {"disagreement": -self.strength}

    def formula(self) -> str:
        return f"softmax(−{self.strength:g}·disagreement{self._limit()})"
