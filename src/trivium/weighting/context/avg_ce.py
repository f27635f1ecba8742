"""AvgCE: all teachers, by the geometric mean of the probabilities that they give to the example's tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trivium.simplex.constants import Constants, bounded
from trivium.weighting.base import Features, ScoreRule
from trivium.weighting.features import BUILT_IN, Range, Scale


@dataclass(frozen=True)
class AvgCE(ScoreRule):
    """w_k ∝ exp(exp(−ℓ_k)), ℓ_k teacher k's mean loss on the example's own sequence, nats a token.

    Args:
        budget: influence budget in nats (T3), below 1 to have an effect; None is the published rule.

    Constants: β = min(budget, 1 − e^{−30}) ≤ 1, so 1/(1 + (K−1)e) ≤ w ≤ e/(e + K − 1) without any budget, and L = 2 in
    the sup metric of the losses. *Proof.* The score e^{−ℓ} lies in [e^{−30}, 1] and has slope −e^{−ℓ} ∈ [−1, 0); a
    difference of two scores moves by at most twice that. β is attained at ℓ = (0, 30), L in the limit of small steps
    at ℓ = 0. ∎ It sees the labels, and the best of teachers weighs little more than the worst.

    Cost O(K). Source: Wan et al., "Knowledge Fusion of Large Language Models" (FuseLLM), ICLR 2024.

    >>> AvgCE().log_weights({"sequence_loss": torch.tensor([0.0, 30.0])}).exp()
    tensor([0.7311, 0.2689])
    """

    budget: float | None = None
    scale: Scale = "context"
    name: ClassVar[str] = "avg_ce"
    ranges: ClassVar[Mapping[str, Range]] = {"sequence_loss": BUILT_IN["sequence_loss"]}

    def score(self, features: Features) -> Tensor:
        return torch.exp(-features["sequence_loss"])

    def slopes(self) -> Mapping[str, float]:
        return {"sequence_loss": -1.0}

    def constants(self, num_teachers: int) -> Constants:
        spread = -math.expm1(-self.ranges["sequence_loss"].high)
        influence = spread if self.budget is None else min(self.budget, spread)
        return bounded(num_teachers, influence, {"sequence_loss": 2.0})

    def formula(self) -> str:
        return f"softmax(exp(−sequence_loss){self._limit()})"
