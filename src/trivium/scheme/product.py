"""Scales composed by normalized product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.errors import require
from trivium.weighting.base import Features, Operator
from trivium.weighting.features import Range


def merged_ranges(parts: tuple[Operator, ...]) -> dict[str, Range]:
    """The box of several operators: for a feature that two of them read, the intersection is what both see, but
    each clips for itself, so the box is the union; of whole numbers alone where all that read it see whole numbers.

    Raises:
        InputError: a feature that has one number a teacher for one operator and another count for the next.
    """
    box: dict[str, Range] = {}
    for part in parts:
        for name, interval in part.ranges.items():
            known = box.get(name, interval)
            require(
                known[3:] == interval[3:],
                f"the operators that read the feature {name!r} must agree on how many numbers it has",
                f"{known} and {interval}",
                "Give one of them another name.",
            )
            box[name] = interval._replace(
                low=min(known.low, interval.low),
                high=max(known.high, interval.high),
                integer=known.integer and interval.integer,
            )
    return box


@dataclass(frozen=True)
class Product(Operator):
    """w_k ∝ Π_s w_{s,k}: a sum of log-weights, then a log-softmax.

    Commutative, associative, uniform is neutral (T2); influence and regularity add (T3, T4); order gaps add (T5).
    Cost O(K) a part.
    """

    parts: tuple[Operator, ...]

    def __post_init__(self) -> None:
        require(len(self.parts) > 0, "a product must have at least one part", "none", "Use Static() for uniform.")

    @property
    def ranges(self) -> Mapping[str, Range]:
        return merged_ranges(self.parts)

    def log_weights(self, features: Features) -> Tensor:
        total = self.parts[0].log_weights(features)
        for part in self.parts[1:]:
            total = total + part.log_weights(features)
        return torch.log_softmax(total, dim=-1)

    def formula(self) -> str:
        return " ⊗ ".join(part.formula() for part in self.parts)
