"""The shape of a softening operator as the axioms see it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

#: log p [..., V] and the parameter ↦ log q [..., V].
Softening = Callable[[Tensor, float], Tensor]

#: log p, parameter, moved log p, moved parameter ↦ an upper bound [...] of TV(q, q′), zero where nothing moved.
SofteningModulus = Callable[[Tensor, float, Tensor, float], Tensor]
