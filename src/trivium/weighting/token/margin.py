"""Decisiveness: a teacher whose best token is far ahead of its second weighs more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trivium.weighting.base import Features, ScoreRule
from trivium.weighting.features import BUILT_IN, Range, Scale


@dataclass(frozen=True)
class Margin(ScoreRule):
    """w_k ∝ exp(strength · (p_k(1) − p_k(2))), the two largest probabilities of teacher k.

    Args:
        strength: nats at a margin of one.
        budget: influence budget in nats (T3); None leaves ``strength``.

    Constants: β = min(budget, strength), L = 2·strength in the sup metric of the margins. Cost O(K) after one
    pass over the K·V logits. Source: ours, bounded by construction.

    >>> import torch
    >>> Margin(strength=1.0).log_weights({"margin": torch.tensor([0.5, 0.5])}).exp()
    tensor([0.5000, 0.5000])
    """

    strength: float = 1.0
    budget: float | None = None
    scale: Scale = "token"
    name: ClassVar[str] = "margin"
    ranges: ClassVar[Mapping[str, Range]] = {"margin": BUILT_IN["margin"]}

    def score(self, features: Features) -> Tensor:
        return self.strength * features["margin"]

    def slopes(self) -> Mapping[str, float]:
        return {"margin": self.strength}

    def formula(self) -> str:
        return f"softmax({self.strength:g}·margin{self._limit()})"
