"""Nash-MTL: weights by Nash's bargain over the direction of the step, which raises no teacher's loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trivium.simplex.constants import Constants, bounded
from trivium.simplex.nash import most_influence, nash_weights
from trivium.simplex.semidefinite import nearest_psd
from trivium.weighting.base import Features, Rule
from trivium.weighting.features import BUILT_IN, Range, Scale


@dataclass(frozen=True)
class NashMTL(Rule):
    r"""w = α/Σα with α > 0 and (Gα)_k = 1/α_k, from ``gram`` [..., K·K].

    Σ α_k ḡ_k is the step d that maximizes Π_k ⟨ḡ_k, d⟩ over d of its length: Nash's bargaining solution. A teacher with
    a gradient a tenth as long weighs ten times as much.

    Where no direction helps every teacher, the product has no maximum and the published equation no solution; a ridge
    at the level of rounding, :func:`~trivium.simplex.nash.nash_weights`, then gives weights of a mean that is zero.

    W-C: (Gα)_k = 1/α_k > 0, so every teacher's loss falls to first order wherever a direction exists that helps all.
    W-P: α > 0. Both go when the weights are limited or projected.

    The method as published remembers: it starts from the last batch's α, solves again every few batches and stops after
    a few rounds of a linearization. Here it is solved from the start in each call, which makes it a function of its row
    (W-F), and the length of the step is left to the optimizer: the sum is one.

    Constants: β = log(2·K^{3/2}(1 + ε)/ε), 34 nats for K = 3, reached only between opposed gradients; no L (W-R).
    Cost: mostly 5 to 60 steps of O(K³).
    Source: Navon et al., "Multi-task learning as a bargaining game" (ICML 2022).

    >>> import torch
    >>> gram = torch.tensor([1.0, 0.0, 0.0, 0.25])
    >>> NashMTL().log_weights({"gram": gram}).exp()
    tensor([0.3333, 0.6667])
    """

    scale: Scale = "task"
    name: ClassVar[str] = "nash_mtl"
    ranges: ClassVar[Mapping[str, Range]] = {"gram": BUILT_IN["gram"]}

    def log_weights(self, features: Features) -> Tensor:
        gram = self.admit(features)["gram"]
        teachers = round(gram.shape[-1] ** 0.5)
        # In float64 anew: what is semidefinite up to the rounding of float32 has no minimum.
        exact = nearest_psd(gram.detach().double())
        alpha = nash_weights(exact.unflatten(-1, (teachers, teachers)))
        return (alpha / alpha.sum(dim=-1, keepdim=True)).log().to(gram.dtype)

    def constants(self, num_teachers: int) -> Constants:
        return bounded(num_teachers, most_influence(num_teachers), {"gram": torch.inf if num_teachers > 1 else 0.0})

    def pareto(self, num_teachers: int) -> str:
        return "W-C: (Gα)_k = 1/α_k > 0 up to the rounding of G"

    def formula(self) -> str:
        return "α/Σα with gram·α = 1/α"
