"""Any built-in features of the teachers, weighed into one bounded score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

from torch import Tensor

from trivium.errors import InputError, nearest, require
from trivium.weighting.base import Features, ScoreRule
from trivium.weighting.features import BUILT_IN, Range, Scale

#: Features with one number a teacher, which a score may add up.
PER_TEACHER = tuple(name for name, r in BUILT_IN.items() if not (r.integer or r.shared or r.pairwise or r.numbers))


@dataclass(frozen=True)
class Scores(ScoreRule):
    """w_k ∝ exp(Σ_f a_f · u_{f,k}), the softmax of a linear score of features.

    Args:
        weights: a_f for each built-in feature of the teachers, nats a unit of the feature.
        budget: influence budget in nats (T3); None leaves Σ_f abs(a_f)·range_f.
        scale: the scale it stands for; a sum of features of several scales stands at the finest.

    Constants: β = min(budget, Σ_f abs(a_f)·range_f), L_f = 2·abs(a_f) in the sup metric of feature f (T3, T4). Cost
    O(K) a feature after what the features cost. Source: ours; softmaxes of entropy, margin, gap or loss are its cases.

    Raises:
        InputError: no features, one that is unknown or not one number a teacher, or a number that is not finite.

    >>> import torch
    >>> by = Scores({"entropy": -1.0, "margin": 2.0}, budget=3.0)
    >>> by.log_weights({"entropy": torch.tensor([2.0, 0.0]), "margin": torch.tensor([1.0, 0.0])}).exp()
    tensor([0.5000, 0.5000])
    """

    weights: Mapping[str, float]
    budget: float | None = None
    scale: Scale = "token"
    name: ClassVar[str] = "scores"

    def __post_init__(self) -> None:
        require(len(self.weights) > 0, "a score must have at least one feature", "none", "Give {'entropy': -1.0}.")
        for feature, weight in self.weights.items():
            if feature not in PER_TEACHER:
                fix = nearest(str(feature), PER_TEACHER)
                raise InputError("a score adds built-in features of the teachers", repr(feature), fix)
            require(
                math.isfinite(weight), f"the weight of feature {feature!r} must be a finite number", weight, "Use −1."
            )
        object.__setattr__(self, "weights", dict(self.weights))
        super().__post_init__()

    @property
    def ranges(self) -> Mapping[str, Range]:
        return {feature: BUILT_IN[feature] for feature in self.weights}

    def score(self, features: Features) -> Tensor:
        terms = [weight * features[feature] for feature, weight in self.weights.items()]
        return reduce(Tensor.add, terms)

    def slopes(self) -> Mapping[str, float]:
        return self.weights

    def formula(self) -> str:
        terms = " + ".join(f"{weight:g}·{feature}" for feature, weight in self.weights.items())
        return f"softmax({terms}{self._limit()})".replace("+ -", "− ").replace("(-", "(−")
