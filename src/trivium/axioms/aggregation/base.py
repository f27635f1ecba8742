"""What every axiom of an aggregator has: an id, one line of mathematics, a signed residual, and a tolerance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from trivium.simplex.rounding import LOG_SCALE

#: An aggregator: K tensors log p_k [..., V] and log w [..., K] ↦ log q [..., V].
Pooling = Callable[[Sequence[Tensor], Tensor], Tensor]


class PoolAxiom(ABC):
    """An axiom of an aggregator. Subclasses are final and add what ``residual`` needs beside (pool, log p, log w).

    A residual is one number a row: ≤ 0 holds, > 0 is the size of the breach, NaN (from a NaN pool) is a breach. It is
    computed in float64 and returned in the dtype of the pool, which tells ``holds`` how much of it may be rounding.
    """

    id: ClassVar[str]
    name: ClassVar[str]
    statement: ClassVar[str]
    #: Whether the residual must be < 0, not ≤ 0.
    strict: ClassVar[bool] = False

    @property
    @abstractmethod
    def residual(self) -> Callable[..., Tensor]:
        """(pool, log_p, log_w, …) ↦ [...]."""

    @abstractmethod
    def tolerance(self, dtype: torch.dtype, entries: int, scale: float = LOG_SCALE) -> float:
        """The largest residual that rounding alone can cause.

        Args:
            dtype: of the pool's result.
            entries: V.
            scale: largest magnitude of the log-probabilities that are compared, in nats.
        """

    def holds(
        self, residual: Tensor, entries: int, dtype: torch.dtype | None = None, scale: float = LOG_SCALE
    ) -> Tensor:
        """Row by row, whether the axiom holds: bool, of the residual's shape."""
        limit = self.tolerance(dtype or residual.dtype, entries, scale)
        exact = residual.double()
        return exact < limit if self.strict else exact <= limit
