"""Fixed weights, the same for every example; uniform when none are given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trivium.errors import require
from trivium.simplex.constants import Constants, fixed, uniform
from trivium.weighting.base import Features, Rule
from trivium.weighting.features import Range, Scale, count_teachers


@dataclass(frozen=True)
class Static(Rule):
    """w = weights / Σ weights.

    Args:
        weights: one positive number a teacher, in the recipe's order; empty for 1/K each.
        scale: the scale it stands for.

    Constants: the gap matrix is log(w_j/w_k) itself, L = 0. Cost O(K). The neutral element of T2 when uniform.

    Raises:
        InputError: a weight that is not positive and finite (W-P), or a count that is not K when evaluated.

    >>> Static((3.0, 1.0)).log_weights({"entropy": torch.zeros(2)}).exp()
    tensor([0.7500, 0.2500])
    """

    weights: tuple[float, ...] = ()
    scale: Scale = "task"
    name: ClassVar[str] = "static"
    ranges: ClassVar[Mapping[str, Range]] = {}

    def __post_init__(self) -> None:
        for weight in self.weights:
            require(
                math.isfinite(weight) and weight > 0,
                "a static weight must be positive and finite (W-P)",
                weight,
                "Use a small positive weight, or leave the teacher out.",
            )

    def log_weights(self, features: Features) -> Tensor:
        like = next(iter(features.values()))
        like = like if like.is_floating_point() else like.to(torch.get_default_dtype())
        num_teachers = count_teachers(features)
        if not self.weights:
            return like.new_full((num_teachers,), -math.log(num_teachers))
        self._check(num_teachers)
        # In float64 first: a positive weight may be zero or infinite in the dtype of the features.
        return torch.log_softmax(torch.tensor(self.weights, dtype=torch.float64).log(), dim=-1).to(like)

    def constants(self, num_teachers: int) -> Constants:
        if not self.weights:
            return uniform(num_teachers)
        self._check(num_teachers)
        return fixed(torch.tensor(self.weights, dtype=torch.float64).log())

    def _check(self, num_teachers: int) -> None:
        require(
            len(self.weights) == num_teachers,
            "static weights must be one a teacher",
            f"{len(self.weights)} weights for {num_teachers} teachers",
            "Write them in the order of the recipe's teachers.",
        )

    def formula(self) -> str:
        return f"({', '.join(f'{w:g}' for w in self.weights)})" if self.weights else "uniform"
