"""W-C asked of operators that read no gradients: any gradients may then stand beside their features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from trivium.weighting.base import Features, Operator
from trivium.weighting.features import BUILT_IN, Range


@dataclass(frozen=True)
class BesideGradients(Operator):
    """An operator with the feature ``gram`` in its box, which it does not look at."""

    part: Operator

    @property
    def ranges(self) -> Mapping[str, Range]:
        return {**self.part.ranges, "gram": BUILT_IN["gram"]}

    def log_weights(self, features: Features) -> Tensor:
        return self.part.log_weights(features)

    def formula(self) -> str:
        return self.part.formula()


def with_gradients(operator: Operator) -> Operator:
    """Return the operator over a box that holds gradients, its own or any."""
    own = operator.ranges.get("gram")
    return operator if own is not None and own.pairwise else BesideGradients(operator)


def said_gram(gram: Tensor) -> str:
    """Inner products [K, K] for a person.

    >>> import torch
    >>> said_gram(torch.tensor([[1.0, -0.5], [-0.5, 0.25]]))
    ' with ⟨g_j, g_k⟩ = ((1, -0.5), (-0.5, 0.25))'
    """
    rows = ", ".join("(" + ", ".join(f"{value + 0.0:.4g}" for value in row) + ")" for row in gram.tolist())
    return f" with ⟨g_j, g_k⟩ = ({rows})"
