"""The interface of a pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Pool(Protocol):
    """A map (p_1 … p_K, w) ↦ q. ``name`` is its key in recipes, ``formula`` what reports print."""

    @property
    def name(self) -> str: ...

    @property
    def formula(self) -> str: ...

    def pool(self, log_p: Sequence[Tensor], log_w: Tensor) -> Tensor:
        """log q [..., V] from K tensors log p_k [..., V] and log w [..., K], all in nats."""
        ...
