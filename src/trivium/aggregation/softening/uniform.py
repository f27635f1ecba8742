"""Mixing with the uniform distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from trivium.errors import require
from trivium.simplex.typed import Typed


def mixed(log_p: Tensor, log_prior: Tensor, share: float) -> Tensor:
    """log((1 − ε)·p + ε·prior) [..., V], with the ends ε = 0 and ε = 1 exact."""
    require(0.0 <= share <= 1.0, "a mixing share must be a number in [0, 1]", share, "0 changes nothing.")
    if share == 0.0:
        return log_p.clone()
    if share == 1.0:
        return log_prior.expand_as(log_p).clone()
    # A finite floor below any logarithm: logaddexp(−inf, −inf) has a derivative of NaN.
    floor = torch.finfo(log_p.dtype).min / 4
    kept = (log_p + math.log1p(-share)).clamp_min(floor)
    both = torch.logaddexp(kept, (log_prior + math.log(share)).clamp_min(floor))
    return both.masked_fill(both <= floor / 2, -math.inf)


@final
@dataclass(frozen=True)
class UniformMixing(Typed):
    r"""q(i) = (1 − ε)·p(i) + ε/V.

    ε = 0 is the identity and ε = 1 uniform on all of V, also where p has no mass: every entry gets at least ε/V. It
    keeps ranks, is non-expansive in total variation (factor 1 − ε) and in Hilbert's metric (it is a positive linear
    map), and its entropy rises with ε: entropy is concave along the segment from p to its maximizer. It never
    sharpens.

    Source: label smoothing with the uniform distribution, Szegedy et al., arXiv 1512.00567, §7.

    Cost: O(V) a row, two temporaries of V numbers.

    >>> import torch
    >>> UniformMixing().soften(torch.tensor([0.9, 0.1]).log(), 0.5).exp()
    tensor([0.7000, 0.3000])
    """

    name: ClassVar[str] = "uniform"
    formula: ClassVar[str] = "q = (1 − ε)·p + ε/V"
    neutral: ClassVar[float] = 0.0
    sharpest: ClassVar[float] = 0.0
    softest: ClassVar[float] = 1.0

    def soften(self, log_p: Tensor, parameter: float) -> Tensor:
        """log q [..., V] in the dtype of log p [..., V], which must be normalized; ``parameter`` is ε in [0, 1].

        Raises:
            InputError: ε outside [0, 1] or NaN.
        """
        uniform = torch.full_like(log_p[..., :1], -math.log(log_p.shape[-1]))
        return mixed(log_p, uniform.expand_as(log_p), parameter)
