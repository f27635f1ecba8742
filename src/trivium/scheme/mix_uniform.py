"""An operator mixed with the uniform one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trivium.errors import require
from trivium.scheme.composition import Key, Wrapper
from trivium.scheme.derivation import Derived
from trivium.scheme.words import least, most
from trivium.simplex.constants import Constants, uniform
from trivium.simplex.rounding import lower_log, up
from trivium.weighting.base import Features


@dataclass(frozen=True)
class MixUniform(Wrapper):
    """w ↦ (1 − ε)·w + ε/K, 0 ≤ ε ≤ 1.

    Every weight is at least ε/K, order is kept weakly, and the regularity constant shrinks by Birkhoff's coefficient
    (T4). Cost O(K).
    """

    share: float
    key: ClassVar = Key("mix", "share of uniform mixed in, after squash and budget", turn=3, limits={"ge": 0, "le": 1})

    def __post_init__(self) -> None:
        require(
            0.0 <= self.share <= 1.0,
            "the share of the uniform mixture must lie in [0, 1]",
            self.share,
            "0.1 leaves each of three teachers at least 0.033.",
        )

    def log_weights(self, features: Features) -> Tensor:
        return mix_with_uniform(self.part.log_weights(features), self.share)

    def formula(self) -> str:
        return f"mix({self.part.formula()} | {self.share:g} uniform)"

    def constants(self, part: Constants) -> Constants:
        """L is multiplied by K(1 − ε)/(K(1 − ε) + 2ε); floors and caps follow the map.

        *Proof.* The map is the positive matrix (1 − ε)I + (ε/K)11ᵀ, whose projective diameter is
        Δ = 2·log(1 + K(1 − ε)/ε). By Birkhoff's theorem it contracts d_H by tanh(Δ/4) = K(1 − ε)/(K(1 − ε) + 2ε), which
        multiplies L. With x = w_k, w_j ≥ e^g·x and h = (1 − ε)K/ε, the new ratio is at least
        (1 + h·e^g·x)/(1 + h·x): falling in x for g < 0, so worst at teacher k's cap, rising for g > 0, so worst at its
        floor.
        """
        num_teachers, epsilon = part.num_teachers, self.share
        if epsilon == 0.0:
            return part
        if epsilon == 1.0 or num_teachers == 1:
            return uniform(num_teachers)
        keep, spread = 1 - epsilon, epsilon / num_teachers
        x = torch.where(part.log_ratio < 0, part.caps[None, :], part.floors[None, :])
        ratio = (keep * part.log_ratio.exp() * x + spread) / (keep * x + spread)
        log_ratio = torch.where(part.log_ratio == 0, torch.zeros_like(ratio), lower_log(ratio.log()))
        contraction = up(_birkhoff(num_teachers, epsilon), steps=6)
        lipschitz = {name: up(contraction * constant, steps=1) for name, constant in part.lipschitz.items()}
        floor, cap = keep * part.floor + spread, up(keep * part.cap + spread)
        return Constants(log_ratio, lipschitz, floor * (1 - 4 * 2.0**-52), min(1.0, cap))

    def after(self, part: Derived) -> Derived:
        whole = self.constants(part.constants)
        return part.then(f"mix({{0}} | {self.share:g} uniform)", whole, *mixture(self.share, whole))


def mix_with_uniform(log_w: Tensor, share: float) -> Tensor:
    """log((1 − ε)·w + ε/K) [..., K] of log weights that need not be normalized.

    >>> mix_with_uniform(torch.tensor([0.0, -torch.inf]), 0.5).exp()
    tensor([0.7500, 0.2500])
    """
    kept = torch.log_softmax(log_w, dim=-1) + (math.log1p(-share) if share < 1.0 else -math.inf)
    if share == 0.0:
        return kept
    return torch.logaddexp(kept, torch.full_like(kept, math.log(share / log_w.shape[-1])))


def mixture(share: float, whole: Constants) -> tuple[str, ...]:
    """Return why a mixture with uniform has the floor and the regularity that it has."""
    if share == 0.0:
        return ("T2: nothing is mixed in",)
    return (
        f"T3: w ≥ {share:.4g}/{whole.num_teachers} = {least(whole.floor)} by the uniform part",
        f"T4: a positive matrix contracts d_H (Birkhoff): L times at most {most(_birkhoff(whole.num_teachers, share))}",
    )


def _birkhoff(num_teachers: int, share: float) -> float:
    return num_teachers * (1 - share) / (num_teachers * (1 - share) + 2 * share)
