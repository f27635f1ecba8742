"""The base class of axioms: an id, one line of mathematics, a signed residual, and the tolerance of its dtype."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from trivium.simplex.rounding import LOG_SCALE
from trivium.simplex.typed import Typed

#: Teachers assumed where a caller of ``holds`` names no number; the tolerance is then an upper one for K ≤ 16.
TYPICAL_TEACHERS = 16


class Axiom(Typed, ABC):
    """An axiom of a weighting operator. Subclasses are final and add ``residual(...)``.

    A residual is one number a row: ≤ 0 holds, > 0 is the size of the breach, NaN (from NaN weights) is a breach. It is
    computed in float64 and returned in the dtype of the weights, which tells ``holds`` how much of it may be rounding.
    """

    id: ClassVar[str]
    name: ClassVar[str]
    statement: ClassVar[str]
    #: Whether the residual must be < 0, not ≤ 0.
    strict: ClassVar[bool] = False

    @abstractmethod
    def tolerance(self, dtype: torch.dtype, num_teachers: int, scale: float = LOG_SCALE) -> float:
        """Return the largest residual that rounding alone can cause in weights of this dtype.

        Args:
            dtype: of the weights, as the operator returned them.
            num_teachers: K.
            scale: largest magnitude of the quantities compared: |log w| in nats, for W-C the largest ‖g_k‖².
        """

    def holds(
        self,
        residual: Tensor,
        num_teachers: int = TYPICAL_TEACHERS,
        dtype: torch.dtype | None = None,
        scale: float = LOG_SCALE,
    ) -> Tensor:
        """Return row by row, whether the axiom holds: bool, of the residual's shape.

        ``dtype`` is that of the weights where the residual was converted since; by default the residual's own.
        """
        limit = self.tolerance(dtype or residual.dtype, num_teachers, scale)
        exact = residual.double()
        return exact < limit if self.strict else exact <= limit
