"""Weights that depend on the vocabulary entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from trivium.weighting.base import Features, Operator
from trivium.weighting.features import Range


@dataclass(frozen=True)
class PerEntry(Operator):
    """w_k(i): the part evaluated once a vocabulary entry, on features [..., V, K].

    Each entry's weights keep all that the part guarantees, as each is a row of its own. The pool does not:
    Σ_k w_k(i)·p_k(i) sums to a number in [K·a, K·b] (T10), so it must be renormalized over V, and T7, T8 and S1 are
    lost. A certificate says so. Cost: the part's, V times.
    """

    part: Operator

    @property
    def ranges(self) -> Mapping[str, Range]:
        return self.part.ranges

    def log_weights(self, features: Features) -> Tensor:
        return self.part.log_weights(features)

    def formula(self) -> str:
        return f"per entry({self.part.formula()})"
