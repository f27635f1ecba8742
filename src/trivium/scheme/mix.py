"""An operator mixed with the uniform one."""

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
class Mix(Operator):
    """w ↦ (1 − ε)·w + ε/K, 0 ≤ ε ≤ 1.

    Every weight is at least ε/K, order is kept weakly, and the regularity constant shrinks by Birkhoff's coefficient
    (:func:`trivium.simplex.mixing.mixed_with_uniform`). Cost O(K).
    """

    part: Operator
    share: float

    def __post_init__(self) -> None:
        require(
            0.0 <= self.share <= 1.0,
            "the share of the uniform mixture must lie in [0, 1]",
            self.share,
            "0.1 leaves each of three teachers at least 0.033.",
        )

    @property
    def ranges(self) -> Mapping[str, Range]:
        return self.part.ranges

    def log_weights(self, features: Features) -> Tensor:
        return mix_with_uniform(self.part.log_weights(features), self.share)

    def formula(self) -> str:
        return f"mix({self.part.formula()} | {self.share:g} uniform)"


def mix_with_uniform(log_w: Tensor, share: float) -> Tensor:
    """log((1 − ε)·w + ε/K) [..., K] of log weights that need not be normalized.

    >>> mix_with_uniform(torch.tensor([0.0, -torch.inf]), 0.5).exp()
    tensor([0.7500, 0.2500])
    """
    kept = torch.log_softmax(log_w, dim=-1) + (math.log1p(-share) if share < 1.0 else -math.inf)
    if share == 0.0:
        return kept
    return torch.logaddexp(kept, torch.full_like(kept, math.log(share / log_w.shape[-1])))
