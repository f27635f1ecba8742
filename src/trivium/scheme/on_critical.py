"""A safety order that is kept on critical inputs, and nothing elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trivium.scheme.composition import Wrapper
from trivium.scheme.derivation import Derived, escape
from trivium.scheme.project import Project
from trivium.scheme.words import most
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.constants import Constants
from trivium.simplex.projection import conforming_projection
from trivium.simplex.rounding import up
from trivium.weighting.base import Features
from trivium.weighting.features import BUILT_IN, Range

#: The feature that says whether a row is critical: 0 or 1.
CRITICAL = "critical"


@dataclass(frozen=True)
class OnCritical(Wrapper):
    """w ↦ Π_C(w) where the feature ``critical`` is 1, and w itself where it is 0 (W-S, T6).

    Floor, cap and order of C hold on critical inputs whatever the part does; elsewhere the part is as it was. The price
    is regularity: weights may jump where an input becomes critical. Cost O(K²).
    """

    conforming: ConformingSet

    @property
    def ranges(self) -> Mapping[str, Range]:
        return {**self.part.ranges, CRITICAL: BUILT_IN[CRITICAL]}

    def log_weights(self, features: Features) -> Tensor:
        log_w = self.part.log_weights(features)
        critical = features[CRITICAL] > 0.5
        safe = conforming_projection(log_w, self.conforming)
        return torch.where(critical, safe, log_w)

    def formula(self) -> str:
        return f"critical ? {Project(self.part, self.conforming).formula()} : {self.part.formula()}"

    def constants(self, part: Constants) -> Constants:
        """Each gap is the smaller of the part's and the projection's, L is kept, and L_critical = β + β_Π is added.

        *Proof.* Every row is one of the two. Two rows that are both critical, or both not, differ as the projection or
        the part allows, and the projection keeps L. Of a critical u and another u′, d_H(Πw(u), w(u′)) ≤ d_H(Πw(u),
        Πw(u′)) + d_H(Πw(u′), w(u′)); the first is within L, the second at most β(Πw) + β(w) (each is a distance from
        uniform), and u and u′ are one apart in ``critical``.
        """
        safe = self.critical_constants(part)
        jump = up(part.influence + safe.influence + part.lipschitz.get(CRITICAL, 0.0), steps=2)
        return Constants(
            torch.minimum(part.log_ratio, safe.log_ratio),
            {**part.lipschitz, CRITICAL: jump},
            min(part.known_floor, safe.known_floor),
            max(part.known_cap, safe.known_cap),
        )

    def critical_constants(self, part: Constants) -> Constants:
        """Return what holds on critical inputs: the constants of the projection."""
        return Project(self.part, self.conforming).constants(part)

    def after(self, part: Derived) -> Derived:
        whole, goal = self.constants(part.constants), self.conforming
        found = part.then(
            f"critical ? project({{0}} | {escape(str(goal))}) : {{0}}",
            whole,
            "T6: on critical inputs the range of the projection is the set; elsewhere the part is as it was",
            f"W-R: where an input becomes critical, they may jump by β + β_Π ≤ {most(whole.lipschitz[CRITICAL])} nats",
        )
        return replace(found, critical=self.critical_constants(part.constants))
