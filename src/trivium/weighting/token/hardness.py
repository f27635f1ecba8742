"""Hardness: weigh a teacher by how far the student is from it, against a fixed reference distance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from trivium.errors import require
from trivium.simplex.constants import Constants, bounded
from trivium.simplex.rounding import up
from trivium.weighting.base import Features, ScoreRule
from trivium.weighting.features import BUILT_IN, Range, Scale


@dataclass(frozen=True)
class Hardness(ScoreRule):
    """w_k ∝ exp(∓strength · tanh(log(h_k/h₀))), h_k the Hellinger distance of teacher k to the student.

    Args:
        strength: c, nats; the score lies in (−c, c).
        reference: h₀ in (0, 1], the distance that counts as ordinary, at which the score is 0.
        prefer: ``"near"`` trusts teachers that the student can follow, ``"far"`` those with most to teach.
        budget: influence budget in nats (T3); None leaves 2·strength/(1 + h₀²).

    AdaKD has one teacher and gives it the temperature T = T₀·exp(−c·tanh(log(h/median))) at each token. Ours: one such
    temperature a teacher, and w_k ∝ T_k (near) or 1/T_k (far); a fixed h₀ for the median of the batch, which would
    couple rows (W-F). The weights depend on the student, so the update is no gradient (T15).

    Constants: β = min(budget, 2c/(1 + h₀²)), L = (3√3/2)·c/h₀ in the sup metric of the gaps. *Proof.*
    tanh(log r) = (r² − 1)/(r² + 1), so the score is f(h) = c(h² − h₀²)/(h² + h₀²), smooth at h = 0 although log h is
    not: f rises from −c to c(1 − h₀²)/(1 + h₀²), a range of 2c/(1 + h₀²). f′(h) = 4c·h₀²h/(h² + h₀²)² is largest where
    h² + h₀² = 4h², that is at h = h₀/√3 ≤ 1, with 3√3c/(4h₀). L is twice that; it is attained in the limit of small
    steps in opposite directions there. ∎ Cost O(K·V).

    Source: Xie et al., "LLM-Oriented Token-Adaptive Knowledge Distillation" (AdaKD), AAAI 2026, arXiv 2510.11615.

    >>> import torch
    >>> Hardness(strength=1.0, reference=0.5).log_weights({"gap": torch.tensor([0.0, 0.5, 1.0])}).exp()
    tensor([0.6370, 0.2344, 0.1286])
    """

    strength: float = 1.0
    reference: float = 0.5
    prefer: Literal["near", "far"] = "near"
    budget: float | None = None
    scale: Scale = "token"
    name: ClassVar[str] = "hardness"
    ranges: ClassVar[Mapping[str, Range]] = {"gap": BUILT_IN["gap"]}

    def __post_init__(self) -> None:
        require(
            0 < self.reference <= 1,
            "the reference of rule 'hardness' must be a Hellinger distance in (0, 1]",
            self.reference,
            "Take the median that a run shows.",
        )
        require(self.prefer in ("near", "far"), "prefer must be near or far", repr(self.prefer), "Choose one of both.")
        super().__post_init__()

    def score(self, features: Features) -> Tensor:
        ratio = (features["gap"] / self.reference).square()
        return self._signed() * (ratio - 1) / (ratio + 1)

    def slopes(self) -> Mapping[str, float]:
        return {"gap": self._signed() * 0.75 * math.sqrt(3) / self.reference}

    def constants(self, num_teachers: int) -> Constants:
        spread = up(2 * abs(self.strength) / (1 + self.reference**2), steps=4)
        influence = spread if self.budget is None else min(self.budget, spread)
        return bounded(num_teachers, influence, {"gap": up(2 * abs(self.slopes()["gap"]), steps=4)})

    def _signed(self) -> float:
        return -self.strength if self.prefer == "near" else self.strength

    def formula(self) -> str:
        sign = "−" if self.prefer == "near" else ""
        return f"softmax({sign}{self.strength:g}·tanh(log(gap/{self.reference:g})){self._limit()})"
