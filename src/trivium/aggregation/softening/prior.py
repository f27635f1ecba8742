"""Mixing with a prior over the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from trivium.aggregation.softening.uniform import mixed
from trivium.errors import require
from trivium.simplex.typed import Typed


@final
@dataclass(frozen=True)
class PriorMixing(Typed):
    r"""q(i) = (1 − ε)·p(i) + ε·u(i) for a prior u over the V entries, for example their frequencies.

    ε = 0 is the identity and ε = 1 the prior. With a uniform u it is :class:`UniformMixing`; with any other it is no
    softening in the strict sense: it can reverse ranks and lower the entropy (:mod:`trivium.aggregation.claims`).

    Source: label-smoothing regularization with a prior u(k), Szegedy et al., arXiv 1512.00567, §7.

    Cost: O(V) a row, two temporaries of V numbers.

    Args:
        prior: V probabilities ≥ 0 that sum to one within 1e-6.

    Raises:
        InputError: the prior is no distribution.

    >>> import torch
    >>> PriorMixing((0.25, 0.75)).soften(torch.tensor([0.5, 0.5]).log(), 0.5).exp()
    tensor([0.3750, 0.6250])
    """

    prior: Sequence[float]

    name: ClassVar[str] = "prior"
    formula: ClassVar[str] = "q = (1 − ε)·p + ε·u"
    neutral: ClassVar[float] = 0.0
    sharpest: ClassVar[float] = 0.0
    softest: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        require(
            len(self.prior) > 0 and all(value >= 0 for value in self.prior) and abs(sum(self.prior) - 1.0) <= 1e-6,
            "a prior must be probabilities ≥ 0 that sum to one",
            self.prior if len(self.prior) <= 8 else f"{len(self.prior)} numbers with sum {sum(self.prior):.6g}",
        )

    def soften(self, log_p: Tensor, parameter: float) -> Tensor:
        """log q [..., V] in the dtype of log p [..., V], which must be normalized; ``parameter`` is ε in [0, 1].

        Raises:
            InputError: ε outside [0, 1] or NaN; a prior over another number of entries.
        """
        require(
            len(self.prior) == log_p.shape[-1],
            f"the prior is over {len(self.prior)} entries, and so must the distribution be",
            tuple(log_p.shape),
        )
        log_prior = torch.tensor(tuple(self.prior), dtype=torch.float64, device=log_p.device).log().to(log_p.dtype)
        return mixed(log_p, log_prior.expand_as(log_p), parameter)
