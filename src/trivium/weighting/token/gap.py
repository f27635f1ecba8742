"""Teachability: weigh a teacher by its distance from the student at a position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from trivium.errors import require
from trivium.weighting.base import Features, ScoreRule
from trivium.weighting.features import BUILT_IN, Range, Scale


@dataclass(frozen=True)
class Gap(ScoreRule):
    """w_k ∝ exp(∓strength · Hellinger(p_k, student)), in [0, 1] a teacher.

    Args:
        strength: nats at disjoint distributions.
        prefer: ``"near"`` trusts teachers that the student can follow, ``"far"`` those with most to teach.
        budget: influence budget in nats (T3); None leaves ``strength``.

    The weights depend on the student, so the update is no gradient (T15); they are constants to autograd.
    Constants: β = min(budget, strength), L = 2·strength in the sup metric of the gaps. Cost O(K·V). Source: the
    Hellinger hardness of AdaKD-style rules, turned from one teacher to K.

    >>> import torch
    >>> Gap(strength=0.0).log_weights({"gap": torch.tensor([0.1, 0.9])}).exp()
    tensor([0.5000, 0.5000])
    """

    strength: float = 1.0
    prefer: Literal["near", "far"] = "near"
    budget: float | None = None
    scale: Scale = "token"
    name: ClassVar[str] = "gap"
    ranges: ClassVar[Mapping[str, Range]] = {"gap": BUILT_IN["gap"]}

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.prefer in ("near", "far"), "prefer must be near or far", repr(self.prefer), "Choose one of both.")

    def score(self, features: Features) -> Tensor:
        return self.slopes()["gap"] * features["gap"]

    def slopes(self) -> Mapping[str, float]:
        return {"gap": -self.strength if self.prefer == "near" else self.strength}

    def formula(self) -> str:
        sign = "−" if self.prefer == "near" else ""
        return f"softmax({sign}{self.strength:g}·gap{self._limit()})"
