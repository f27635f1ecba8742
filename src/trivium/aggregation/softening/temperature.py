"""Temperature: a distribution's powers, renormalized."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from trivium.errors import require
from trivium.simplex.typed import Typed


@final
@dataclass(frozen=True)
class Temperature(Typed):
    r"""q(i) = p(i)^{1/T} / Σ_j p(j)^{1/T}, that is softmax(z/T) where p = softmax(z).

    T = 1 is the identity, T → ∞ uniform on the support of p, T → 0 uniform on its most probable entries; both limits
    are exact at T = inf and T = 0. It keeps ranks and zeros, scales Hilbert distances by 1/T, and its entropy rises
    with T: dH/dT = Var_q(log p)/T³.

    Source: Hinton, Vinyals & Dean, arXiv 1503.02531.

    Cost: O(V) a row, one temporary of V numbers.

    >>> import torch
    >>> Temperature().soften(torch.tensor([0.8, 0.2]).log(), 2.0).exp()
    tensor([0.6667, 0.3333])
    >>> Temperature().soften(torch.tensor([0.4, 0.4, 0.2]).log(), 0.0).exp()
    tensor([0.5000, 0.5000, 0.0000])
    """

    name: ClassVar[str] = "temperature"
    formula: ClassVar[str] = "q ∝ p^(1/T)"
    neutral: ClassVar[float] = 1.0
    sharpest: ClassVar[float] = 0.0
    softest: ClassVar[float] = math.inf

    def soften(self, log_p: Tensor, parameter: float) -> Tensor:
        """log q [..., V] in the dtype of log p [..., V]; −inf stays −inf.

        Args:
            log_p: log-probabilities in nats, or logits that differ from them by a constant in V.
            parameter: T in [0, ∞]; below the dtype's smallest normal number it counts as 0.

        Raises:
            InputError: T is negative or NaN.
        """
        require(parameter >= 0.0, "a temperature must be a number ≥ 0", parameter, "1 changes nothing.")
        below = log_p - log_p.amax(dim=-1, keepdim=True)
        if parameter < torch.finfo(log_p.dtype).tiny:
            scores = below.masked_fill(below < 0, -math.inf)
        elif math.isinf(parameter):
            scores = torch.zeros_like(below).masked_fill(torch.isneginf(below), -math.inf)
        else:
            scores = below / parameter
        return torch.log_softmax(scores, dim=-1)
