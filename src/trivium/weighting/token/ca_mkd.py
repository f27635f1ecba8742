"""CA-MKD: a teacher weighs less by its share of the exponentiated losses on the label."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trivium.simplex.constants import Constants, bounded
from trivium.simplex.rounding import up
from trivium.weighting.base import Features, Rule
from trivium.weighting.features import BUILT_IN, Range, Scale


@dataclass(frozen=True)
class CAMKD(Rule):
    """w_k = (1 − softmax_k(ℓ))/(K − 1), ℓ_k = −log p_k(label), nats.

    Args:
        stable: compute log Σ_{j≠k} e^{ℓ_j} in log space, which is the same function of real numbers, and give one
            teacher weight 1; else 1 − softmax as published.

    As published the difference is 0 in float32 where one loss leads by 17 nats (W-P), a step function of its last
    digits well before, and 0/0 for K = 1 (W-N): it declares nothing. It saturates: ℓ = (.1, 2, 5) gives
    (.496, .476, .027) where softmax(−ℓ) gives (.864, .129, .006). No teacher weighs more than 1/(K − 1). The released
    code divides the loss by K once more, so 1/K of the usual mass is left. It sees the label.

    Constants (stable, h = 30 the end of the range): β = log((e^h + K − 2)/(K − 1)), so a floor of 1/(e^h + K − 1) that
    no run can use without a budget; w ≤ 1/(K − 1 + e^{−h}); L = 2 in the sup metric of the log-probabilities, 0 for
    K = 1. β and the cap are attained, L for K = 2 and, to a factor 1 − (K−2)e^{−h}, beyond. *Proof.* With e_j = e^{ℓ_j}
    and R the sum of all but e_j and e_k, w_j/w_k = (e_k + R)/(e_j + R): least at ℓ_j = h and 0 for all others, since
    it falls in e_j, rises in e_k and, where e_j > e_k, in R. Its logarithm has derivatives e_k/(e_k + R) in ℓ_k,
    −e_j/(e_j + R) in ℓ_j and e_i/(e_k + R) − e_i/(e_j + R) in the others ℓ_i, which sum to R/(e_k + R) − R/(e_j + R) if
    e_j ≥ e_k; in absolute value together 1 + (e_j − R)/(e_j + R) = 2e_j/(e_j + R) ≤ 2. The cap: w_k is
    S/((K−1)(e_k + S)), S the sum of the others, largest at e_k = 1, S = (K−1)e^h. ∎

    Cost O(K), stable O(K²), after the label's log-probability. Source: Zhang, Chen, Wang, "Confidence-Aware
    Multi-Teacher Knowledge Distillation", ICASSP 2022 (github.com/Rorozhl/CA-MKD, helper/loops.py); there a sample has
    one label, here a position has one, and T = 1 is the sample.

    >>> CAMKD().log_weights({"label_log_prob": torch.tensor([-0.1, -2.0, -5.0])}).exp()
    tensor([0.4965, 0.4765, 0.0271])
    """

    stable: bool = False
    scale: Scale = "token"
    name: ClassVar[str] = "ca_mkd"
    ranges: ClassVar[Mapping[str, Range]] = {"label_log_prob": BUILT_IN["label_log_prob"]}

    def log_weights(self, features: Features) -> Tensor:
        loss = -self.admit(features)["label_log_prob"]
        num_teachers = loss.shape[-1]
        if not self.stable:
            return torch.log((1 - torch.softmax(loss, dim=-1)) / (num_teachers - 1))
        if num_teachers == 1:
            return torch.zeros_like(loss)
        itself = torch.eye(num_teachers, dtype=torch.bool, device=loss.device)
        others = torch.where(itself, -torch.inf, loss.unsqueeze(-2)).logsumexp(dim=-1)
        return torch.log_softmax(others, dim=-1)

    def constants(self, num_teachers: int) -> Constants | None:
        if not self.stable:
            return None
        if num_teachers == 1:
            return bounded(1, 0.0, {"label_log_prob": 0.0})
        high = -self.ranges["label_log_prob"].low
        influence = high + math.log1p((num_teachers - 2) * math.exp(-high)) - math.log(num_teachers - 1)
        known = bounded(num_teachers, up(influence, steps=8), {"label_log_prob": 2.0})
        cap = 1 / (num_teachers - 1 + math.exp(-high))
        return Constants(known.log_ratio, known.lipschitz, known_cap=min(1.0, up(cap, steps=4)))

    def formula(self) -> str:
        return "normalize(Σ_{j≠k} exp(−label_log_prob_j))" if self.stable else "(1 − softmax(−label_log_prob))/(K − 1)"
