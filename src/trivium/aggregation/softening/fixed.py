"""A softening operator at one parameter: the map that a loss applies to each teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from trivium.aggregation.softening.prior import PriorMixing
from trivium.aggregation.softening.protocol import Softener
from trivium.aggregation.softening.temperature import Temperature
from trivium.aggregation.softening.uniform import UniformMixing
from trivium.errors import InputError, nearest, require
from trivium.simplex.typed import typed

#: The softening operators that need no data, by name.
SOFTENERS: dict[str, Softener] = {softener.name: softener for softener in (Temperature(), UniformMixing())}


@final
@dataclass(frozen=True)
class FixedSoftener:
    """log p ↦ log q of a softening operator with its parameter; made by :func:`make_softener`."""

    operator: Softener
    parameter: float

    def __call__(self, log_p: Tensor) -> Tensor:
        """log q [..., V] from log p [..., V], in nats and its dtype; costs what the operator does."""
        return self.operator.soften(log_p, self.parameter)


@typed()
def make_softener(name: str, parameter: float, prior: Sequence[float] | None = None) -> FixedSoftener:
    """Return the softening operator of that name at a parameter: ``temperature`` T > 0, ``uniform`` or ``prior`` ε in
    [0, 1].

    Args:
        prior: V probabilities, of ``prior`` alone, which needs them.

    Raises:
        InputError: no such operator; a parameter outside its range; a prior missing, superfluous or no distribution.

    >>> import torch
    >>> make_softener("uniform", 0.2)(torch.tensor([1.0, 0.0]).log()).exp()
    tensor([0.9000, 0.1000])
    """
    names = [*SOFTENERS, PriorMixing.name]
    if name not in names:
        raise InputError("a softening must exist", repr(name), nearest(name, names))
    given = "none" if prior is None else f"{len(prior)} numbers"
    fix = "Give a probability for each entry." if name == PriorMixing.name else "Leave them out."
    must = "softening 'prior', and no other, must have the probabilities of a prior"
    require((prior is not None) == (name == PriorMixing.name), must, f"{given} for {name!r}", fix)
    operator = SOFTENERS[name] if prior is None else PriorMixing(tuple(prior))
    inside = operator.sharpest <= parameter <= operator.softest
    # At T = 0 a teacher would be its most probable entry, and a divergence from it infinite where they disagree.
    inside = inside and not (name == Temperature.name and parameter == 0.0)
    bounds = "a positive number" if name == Temperature.name else "in [0, 1]"
    require(inside, f"the amount of softening {name!r} must be {bounds}", parameter, f"{operator.neutral:g} is none.")
    return FixedSoftener(operator, parameter)
