"""The shape of an aggregator as the axioms see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

#: K tensors log p_k [..., V] and log w [..., K] (or [..., V, K], a row for each entry) ↦ log q [..., V].
Pooling = Callable[[Sequence[Tensor], Tensor], Tensor]

#: log p, log w, moved log p, moved log w ↦ an upper bound [...] of TV(q, q′), zero where nothing moved.
Modulus = Callable[[Sequence[Tensor], Tensor, Sequence[Tensor], Tensor], Tensor]


def tempered(log_p: Tensor, temperature: float) -> Tensor:
    """log of p^{1/T} normalized, [..., V]."""
    return torch.log_softmax(log_p / temperature, dim=-1)
