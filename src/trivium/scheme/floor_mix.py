"""An operator lifted to a floor by mixing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trivium.errors import InfeasibleError, require
from trivium.scheme.composition import Key, Wrapper
from trivium.scheme.derivation import Derived
from trivium.scheme.mix_uniform import MixUniform, mix_with_uniform, mixture
from trivium.simplex.constants import Constants
from trivium.weighting.base import Features


@dataclass(frozen=True)
class FloorMix(Wrapper):
    """w ↦ a + (1 − K·a)·w, 0 ≤ a ≤ 1/K: the mixture with uniform that makes a the floor, whatever the part does.

    Smooth where the projection (:class:`~trivium.scheme.project.Project`) is the least change: every weight moves, also
    those above the floor. Order is kept weakly, the regularity constant shrinks. Cost O(K).

    Raises:
        InputError: a negative floor. InfeasibleError: K·a above one, when K is known (T1).
    """

    floor: float
    key: ClassVar = Key(
        "floor", "least weight of the rule, by uniform mixed in; at most 1/K", turn=5, limits={"ge": 0, "le": 0.5}
    )

    def __post_init__(self) -> None:
        require(
            math.isfinite(self.floor) and 0.0 <= self.floor <= 1.0,
            "a floor must lie between 0 and 1/K",
            self.floor,
            "0.05 leaves three teachers 0.85 to share.",
        )

    def log_weights(self, features: Features) -> Tensor:
        log_w = self.part.log_weights(features)
        return mix_with_uniform(log_w, self.share(log_w.shape[-1]))

    def formula(self) -> str:
        return f"floor({self.part.formula()} | w ≥ {self.floor:g})"

    def share(self, num_teachers: int) -> float:
        """ε = K·a, the share of the uniform mixture that lifts every weight to a.

        Raises:
            InfeasibleError: K·a above one (T1).
        """
        epsilon = num_teachers * self.floor
        if epsilon > 1.0 + 4 * 2.0**-52:
            must = f"a floor must be at most 1/K for K = {num_teachers} teachers"
            raise InfeasibleError(must, self.floor, f"Lower it to {1 / num_teachers:.4g}.")
        return min(1.0, epsilon)

    def constants(self, part: Constants) -> Constants:
        """Return those of :class:`~trivium.scheme.mix_uniform.MixUniform` with ε = K·a, whose floor is a exactly."""
        mixed = MixUniform(self.part, self.share(part.num_teachers)).constants(part)
        return Constants(mixed.log_ratio, mixed.lipschitz, max(mixed.known_floor, self.floor), mixed.known_cap)

    def after(self, part: Derived) -> Derived:
        whole = self.constants(part.constants)
        lines = mixture(self.share(whole.num_teachers), whole)
        return part.then(f"floor({{0}} | w ≥ {self.floor:g})", whole, *lines)
