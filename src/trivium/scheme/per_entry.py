"""Weights that depend on the vocabulary entry."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from trivium.scheme.composition import Wrapper
from trivium.scheme.derivation import Derived
from trivium.scheme.words import least, most
from trivium.simplex.constants import Constants
from trivium.weighting.base import Features


@dataclass(frozen=True)
class PerEntry(Wrapper):
    """w_k(i): the part evaluated once a vocabulary entry, on features [..., V, K].

    Each entry's weights keep all that the part guarantees, as each is a row of its own. The pool does not:
    Σ_k w_k(i)·p_k(i) sums to a number in [K·a, K·b] (T10), so it must be renormalized over V, and T7, T8 and S1 are
    lost. A certificate says so. Cost: the part's, V times.
    """

    def log_weights(self, features: Features) -> Tensor:
        return self.part.log_weights(features)

    def formula(self) -> str:
        return f"per entry({self.part.formula()})"

    def constants(self, part: Constants) -> Constants:
        """Return those of the part, entry by entry: each has a row of its own (T10)."""
        return part

    def after(self, part: Derived) -> Derived:
        whole = self.constants(part.constants)
        low, high = whole.num_teachers * whole.floor, whole.num_teachers * whole.cap
        return part.then(
            "per entry({0})",
            whole,
            "T10: each vocabulary entry has a row of its own, so its part's constants hold entry by entry",
            f"T10: Σ_k w_k(i)·p_k(i) sums over V to a number in [K·a, K·b] = [{least(low)}, {most(high)}], "
            "so the pool is renormalized; T7, T8 and S1 do not hold",
            normalized=part.normalized,
        )
