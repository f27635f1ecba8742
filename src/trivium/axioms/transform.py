"""What the axioms of aggregators and of softening operators share: maps between distributions, V entries a row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from trivium.simplex.rounding import LOG_SCALE


class TransformAxiom(ABC):
    """An axiom of a map between distributions, which the residual takes as a callable. Subclasses are final.

    A residual is one number a row: ≤ 0 holds, > 0 is the size of the breach, −inf means that nothing is required of
    the row, NaN (from a NaN result) is a breach. It is computed in float64 from what the map returns, and returned in
    the map's dtype, which tells ``holds`` how much of it may be rounding.
    """

    id: ClassVar[str]
    name: ClassVar[str]
    statement: ClassVar[str]
    #: Whether the residual must be < 0, not ≤ 0.
    strict: ClassVar[bool] = False

    #: (map, its arguments, what the axiom changes) ↦ [...].
    residual: Callable[..., Tensor]

    @abstractmethod
    def tolerance(self, dtype: torch.dtype, entries: int, scale: float = LOG_SCALE) -> float:
        """Return the largest residual that rounding alone can cause.

        Args:
            dtype: of the map's result.
            entries: V.
            scale: largest magnitude, in nats, of the logarithms on the way (after division by a temperature).
        """

    def holds(
        self, residual: Tensor, entries: int, dtype: torch.dtype | None = None, scale: float = LOG_SCALE
    ) -> Tensor:
        """Return row by row, whether the axiom holds: bool, of the residual's shape."""
        limit = self.tolerance(dtype or residual.dtype, entries, scale)
        exact = residual.double()
        return exact < limit if self.strict else exact <= limit
