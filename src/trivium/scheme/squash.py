"""An operator whose influence is squashed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trivium.errors import require
from trivium.scheme.composition import Key, Wrapper
from trivium.scheme.derivation import Derived
from trivium.scheme.words import most
from trivium.simplex.constants import Constants
from trivium.simplex.geometry import log_normalize
from trivium.simplex.rounding import lower_log
from trivium.weighting.base import Features


@dataclass(frozen=True)
class Squash(Wrapper):
    """log w ↦ B·tanh((log w − max log w)/B), normalized: β(w) < B whatever the part does (T3).

    The smooth form of :class:`~trivium.scheme.clamp_influence.ClampInfluence`: near the leader nothing changes, far
    below it weights saturate at e^−B of its own, one of zero too. Strict order is kept and the Lipschitz constant does
    not grow (T4).
    Cost O(K); differentiable almost everywhere.

    >>> from trivium.weighting.token.entropy import Entropy
    >>> w = Squash(Entropy(), 2.0).log_weights({"entropy": torch.tensor([0.0, 2.0, 12.0])})
    >>> [round(x, 4) for x in (w - w.max()).tolist()]
    [0.0, -1.5232, -2.0]
    """

    bound: float
    key: ClassVar = Key("squash", "influence in nats that its weights approach, smoothly", turn=1, limits={"gt": 0})

    def __post_init__(self) -> None:
        require(
            0.0 < self.bound < math.inf,
            "the bound of a squash must be a positive number of nats",
            self.bound,
            "4 nats let one teacher outweigh another 55 to 1.",
        )

    def log_weights(self, features: Features) -> Tensor:
        log_w = self.part.log_weights(features)
        return log_normalize(self.bound * ((log_w - log_w.amax(dim=-1, keepdim=True)) / self.bound).tanh())

    def formula(self) -> str:
        return f"squash({self.part.formula()} | β < {self.bound:g})"

    def constants(self, part: Constants) -> Constants:
        """L is kept, β′ = B·tanh(β/B).

        *Proof.* x ↦ B·tanh(x/B) is increasing with slope at most 1, and max l is monotone and commutes with adding a
        constant. Let δ = l′ − l and e = δ − (max l′ − max l), whose entries include both signs or zero; each entry of
        the result moves by something between 0 and e_k, so its spread is at most max e⁺ + max e⁻ = d_H(l, l′): L is
        kept. With p = (M − l_j)/B, q = (M − l_k)/B ≥ 0, q − p ≥ g/B, and tanh concave on [0, ∞): for g ≤ 0 the least
        of B·(tanh q − tanh p) is at q = 0, p = −g/B: gap′ = −B·tanh(−g/B). For g > 0 it is at q = p + g/B and falls in
        p, which is at most U_j/B = max_i −gap[j, i]/B. Differences shrink as they are measured from the maximum, which
        keeps known floors and caps (as for :class:`~trivium.scheme.power.Power`).
        """
        bound = self.bound
        depth = (-part.log_ratio).amax(dim=1, keepdim=True) / bound
        below = lower_log(bound * (part.log_ratio / bound).tanh()).clamp(
            min=-bound
        )  # B·tanh < B, however it is rounded
        # tanh(p + g) − tanh(p) = sinh g / (cosh p · cosh(p + g)) without the cancellation; zero where p is unbounded.
        step = part.log_ratio.clamp(min=0.0) / bound
        kept = bound * step.sinh() / (depth.cosh() * (depth + step).cosh())
        above = torch.where(depth + step < 300.0, kept * (1 - 2.0**-46), torch.zeros_like(kept))
        log_ratio = torch.where(
            part.log_ratio > 0, above.nan_to_num(nan=0.0), torch.where(part.log_ratio == 0, part.log_ratio, below)
        )
        return Constants(log_ratio, part.lipschitz, part.known_floor, part.known_cap)

    def after(self, part: Derived) -> Derived:
        whole, bound = self.constants(part.constants), f"{self.bound:g}"
        return part.then(
            f"squash({{0}} | β < {bound})",
            whole,
            f"T3: scores within {bound} nats of the leader's, at {bound}·tanh(gap/{bound}): "
            f"β = {bound}·tanh({most(part.constants.influence)}/{bound}) = {most(whole.influence)} nats",
            "T4: increasing with slope ≤ 1, measured from the leader: L kept",
        )
