"""Confidence: a teacher whose next-token distribution is sharp weighs more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trivium.weighting.base import Features, ScoreRule
from trivium.weighting.features import BUILT_IN, Range, Scale


@dataclass(frozen=True)
class Entropy(ScoreRule):
    """w_k ∝ exp(−strength · H_k), H_k the entropy of teacher k at this position in nats.

    Args:
        strength: weight a nat; 0 is uniform.
        budget: influence budget in nats (T3); None leaves strength · 12.

    Constants: β = min(budget, 12·strength), L = 2·strength in the sup metric of the entropies. Cost O(K) after
    one pass over the K·V logits. The score is NeMo-RL's entropy weighting with a stated bound; unlike EBKD
    (1 − H_k/ΣH) it sums to one and is continuous where all entropies vanish.

    >>> import torch
    >>> Entropy(strength=1.0).log_weights({"entropy": torch.tensor([0.0, 0.6931472])}).exp()
    tensor([0.6667, 0.3333])
    """

    strength: float = 1.0
    budget: float | None = None
    scale: Scale = "token"
    name: ClassVar[str] = "entropy"
    ranges: ClassVar[Mapping[str, Range]] = {"entropy": BUILT_IN["entropy"]}

    def score(self, features: Features) -> Tensor:
        return -self.strength * features["entropy"]

    def slopes(self) -> Mapping[str, float]:
        return {"entropy": -self.strength}

    def formula(self) -> str:
        return f"softmax(−{self.strength:g}·entropy{self._limit()})"
