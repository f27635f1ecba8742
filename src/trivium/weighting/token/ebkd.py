"""EBKD: a teacher weighs less by its share of the entropy of all teachers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trivium.errors import require
from trivium.simplex.constants import Constants, bounded
from trivium.simplex.rounding import up
from trivium.weighting.base import Features, Rule
from trivium.weighting.features import BUILT_IN, Range, Scale


@dataclass(frozen=True)
class EBKD(Rule):
    """w_k = 1 − H_k/ΣH, H_k the entropy of teacher k at this position in nats.

    Args:
        normalized: divide by the sum of the weights; not published.
        smoothing: δ in H_k/(ΣH + δ), nats; not published.

    As published the weights sum to K − 1 (W-N; its code divides the loss by K once more, so (K − 1)/K of the usual
    mass is left), one teacher that holds all the entropy weighs nothing (W-P), and 0/0 where no teacher is in doubt: it
    declares nothing. Normalized and smoothed by δ > 0 it is w_k ∝ δ + Σ_{i≠k} H_i and conforms.

    Constants (normalized, δ > 0, h = 12 the end of the range): β = log(1 + h/δ), w ≤ (δ + (K−1)h)/(Kδ + (K−1)²h), and
    L = 2/δ for K ≤ 3, (K−1)/δ − (K−3)/(δ + h) beyond, in the sup metric of the entropies; all are attained, L in the
    limit of small steps. *Proof.* With R the entropy of all teachers but j and k, log w_j − log w_k =
    log(δ + R + H_k) − log(δ + R + H_j) is least at R = H_k = 0, H_j = h, which is −β. Let a = 1/(δ + R + H_k) and
    b = 1/(δ + R + H_j), say a ≥ b. The derivatives are a in H_k, −b in H_j and a − b in each of the K − 2 others, in
    absolute value (K−1)a − (K−3)b in sum, which is L since the box is convex. It falls in R and in H_k, so take both 0:
    a = 1/δ. It rises in b up to b = a for K = 2, does not depend on it for K = 3, and falls in it beyond, where
    b = 1/(δ + h). The cap: w_k falls in H_k, and (δ + S)/(Kδ + (K−1)S) rises in S ≤ (K−1)h. ∎

    Cost O(K²) after one pass over the K·V logits: sums of the others are taken directly, since ΣH − H_k cancels.
    Source: Kwon, Na, Lee, Kim, "Adaptive Knowledge Distillation Based on Entropy", ICASSP 2020; the form is that of the
    released comparison of CA-MKD (github.com/Rorozhl/CA-MKD, helper/loops.py).

    >>> EBKD().log_weights({"entropy": torch.tensor([1.0, 1.0, 2.0])}).exp()
    tensor([0.7500, 0.7500, 0.5000])
    >>> EBKD(normalized=True, smoothing=1.0).log_weights({"entropy": torch.tensor([0.0, 8.0])}).exp()
    tensor([0.9000, 0.1000])
    """

    normalized: bool = False
    smoothing: float = 0.0
    scale: Scale = "token"
    name: ClassVar[str] = "ebkd"
    ranges: ClassVar[Mapping[str, Range]] = {"entropy": BUILT_IN["entropy"]}

    def __post_init__(self) -> None:
        require(
            math.isfinite(self.smoothing) and self.smoothing >= 0,
            "the smoothing of rule 'ebkd' must be a number of nats ≥ 0",
            self.smoothing,
            "1 nat keeps β below 2.6 nats; 0 is the published rule.",
        )

    def log_weights(self, features: Features) -> Tensor:
        entropy = self.admit(features)["entropy"]
        if not self.normalized:
            return torch.log(1 - entropy / (entropy.sum(dim=-1, keepdim=True) + self.smoothing))
        itself = torch.eye(entropy.shape[-1], dtype=torch.bool, device=entropy.device)
        others = torch.where(itself, 0.0, entropy.unsqueeze(-2)).sum(dim=-1)
        return torch.log_softmax(torch.log(self.smoothing + others), dim=-1)

    def constants(self, num_teachers: int) -> Constants | None:
        if not (self.normalized and self.smoothing > 0):
            return None
        delta, high, k = self.smoothing, self.ranges["entropy"].high, num_teachers
        slope = 2 / delta if k <= 3 else (k - 1) / delta - (k - 3) / (delta + high)
        cap = (delta + (k - 1) * high) / (k * delta + (k - 1) ** 2 * high)
        known = bounded(k, up(math.log1p(high / delta), steps=4), {"entropy": up(slope, steps=4)})
        return Constants(known.log_ratio, known.lipschitz, known_cap=min(1.0, up(cap, steps=8)))

    def formula(self) -> str:
        delta = f" + {self.smoothing:g}" if self.smoothing else ""
        share = f"entropy/(Σ entropy{delta})" if delta else "entropy/Σ entropy"
        return f"normalize(1 − {share})" if self.normalized else f"1 − {share}"
