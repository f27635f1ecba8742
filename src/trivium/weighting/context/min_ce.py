"""MinCE: the teacher with the least loss on the example takes it all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trivium.weighting.base import Features, Rule
from trivium.weighting.features import BUILT_IN, Range, Scale


@dataclass(frozen=True)
class MinCE(Rule):
    """w = one-hot at argmin_k ℓ_k, ℓ_k teacher k's mean loss on the example's own sequence, nats a token.

    A tie goes to the first of the tied teachers, in the recipe's order.

    Constants: none to declare. All other teachers weigh 0 (W-P), and at a tie the weights jump whatever L is (W-R). It
    sees the labels. The conforming form is ``scores`` with ``weights={"sequence_loss": −τ}`` and a budget, which tends
    to this rule as both grow. Cost O(K). Source: Wan et al., "Knowledge Fusion of Large Language Models" (FuseLLM),
    ICLR 2024.

    >>> MinCE().log_weights({"sequence_loss": torch.tensor([3.0, 0.5, 0.5])}).exp()
    tensor([0., 1., 0.])
    """

    scale: Scale = "context"
    name: ClassVar[str] = "min_ce"
    ranges: ClassVar[Mapping[str, Range]] = {"sequence_loss": BUILT_IN["sequence_loss"]}

    def log_weights(self, features: Features) -> Tensor:
        loss = self.admit(features)["sequence_loss"]
        best = loss.argmin(dim=-1, keepdim=True)  # the first of several, as PyTorch documents
        return torch.full_like(loss, -torch.inf).scatter(-1, best, 0.0)

    def formula(self) -> str:
        return "one_hot(argmin sequence_loss)"
