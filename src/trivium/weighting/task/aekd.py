"""AEKD: the weights whose mean gradient in the student's logits is shortest, none above a cap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trivium.errors import require
from trivium.simplex.constants import Constants, bounded
from trivium.simplex.min_norm import check_cap, min_norm_weights
from trivium.weighting.base import Features, Rule
from trivium.weighting.features import BUILT_IN, Range, Scale


@dataclass(frozen=True)
class AEKD(Rule):
    """w = argmin over α with Σ α_k = 1, 0 ≤ α_k ≤ C of ‖Σ_k α_k ḡ_k‖², from ``gram`` [..., K·K].

    As published: a weight can be zero (it fails W-P and every influence budget), and near equal gradients the minimizer
    jumps (it fails W-R). Under an influence budget or a floor, in a scheme, it is bounded.

    Args:
        cap: C, at least 1/K. Published: 0.6. With C = 1 this is MGDA, solved exactly.

    W-C: with C ≥ 1 it holds. Moving from α towards a vertex e_k does not shorten the mean ḡ = Σ α_j ḡ_j, so
    ⟨ḡ_k − ḡ, ḡ⟩ ≥ 0, hence ⟨ḡ_k, ḡ⟩ ≥ ‖ḡ‖² ≥ 0 for every k. With C < 1 that vertex is not allowed, and opposed
    gradients of lengths 1 and r break it as soon as r/(1 + r) > C.

    Constants: none; W-N and W-F hold. Cost: about K steps of O(K³).
    Source: Du et al., "Agree to disagree: adaptive ensemble knowledge distillation in gradient space" (NeurIPS 2020).

    Raises:
        InfeasibleError: C·K < 1.

    >>> import torch
    >>> gram = torch.tensor([1.0, 0.0, 0.0, 4.0]) / 4
    >>> AEKD(cap=1.0).log_weights({"gram": gram}).exp()
    tensor([0.8000, 0.2000])
    """

    cap: float = 0.6
    scale: Scale = "task"
    name: ClassVar[str] = "aekd"
    ranges: ClassVar[Mapping[str, Range]] = {"gram": BUILT_IN["gram"]}

    def __post_init__(self) -> None:
        require(0.0 < self.cap <= 1.0, "the cap of rule 'aekd' must lie in (0, 1]", self.cap, "Published: 0.6.")

    def log_weights(self, features: Features) -> Tensor:
        gram = self.admit(features)["gram"]
        teachers = round(gram.shape[-1] ** 0.5)
        return min_norm_weights(gram.unflatten(-1, (teachers, teachers)), self.cap).log().to(gram.dtype)

    def constants(self, num_teachers: int) -> Constants:
        check_cap(self.cap, num_teachers)
        return bounded(
            num_teachers, float("inf") if num_teachers > 1 else 0.0, {"gram": float("inf") if num_teachers > 1 else 0.0}
        )

    def pareto(self, num_teachers: int) -> str:
        if self.cap < 1.0 and num_teachers > 1:
            return ""
        return "W-C: the shortest mean ḡ of the gradients has ⟨ḡ_k, ḡ⟩ ≥ ‖ḡ‖² ≥ 0: no step to a vertex shortens it"

    def formula(self) -> str:
        return f"argmin ‖Σ α·g‖² (α ≤ {self.cap:g})"
