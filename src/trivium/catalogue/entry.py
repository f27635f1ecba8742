"""What the catalogue says of one rule in one form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from trivium.certification.specification import Specification
from trivium.errors import require
from trivium.simplex.order import Order
from trivium.weighting.base import Features, Operator, RawRule
from trivium.weighting.features import Scale

Form = Literal["ours", "published", "conforming"]

#: Every entry is asked the same: 8 nats let one teacher outweigh another 2,981 to 1.
TEACHERS, INFLUENCE, LIPSCHITZ = 3, 8.0, 8.0


@dataclass(frozen=True)
class Case:
    """Weights computed by hand from the formula, for one row.

    Attributes:
        features: K numbers each (one for a shared feature, K·K for a pairwise one); of a rule that looks across its
            batch, rows of them.
        weights: what must come out, K numbers, or rows of them.
        tolerance: absolute; half a unit of the last digit that is written down.
    """

    features: Mapping[str, object]
    weights: object
    tolerance: float = 5e-4

    def inputs(self) -> dict[str, Tensor]:
        """Return the features as tensors, float64."""
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in self.features.items()}

    def expected(self) -> Tensor:
        """Return the weights as a tensor, float64."""
        return torch.tensor(self.weights, dtype=torch.float64)


@dataclass(frozen=True)
class Entry:
    """One row of the catalogue.

    Attributes:
        name: of the rule, as recipes call it; a conforming form bears the name of what it repairs.
        form: ``published`` is faithful to its source, flaws included; ``conforming`` is that under an influence
            budget or a projection; ``ours`` has no other source.
        operator: the rule, or the composition that makes it conform.
        scale: at which it is meant.
        source: who published it and where.
        cost: a row or a batch, as growth in K, V and positions.
        cases: hand-computed values.
    """

    name: str
    form: Form
    operator: Operator
    scale: Scale
    source: str
    cost: str
    cases: tuple[Case, ...] = ()

    def __post_init__(self) -> None:
        require(self.form in get_args(Form), "a form must be known", repr(self.form), f"One of {get_args(Form)}.")
        require(bool(self.source and self.cost), f"the entry {self.name!r} must tell source and cost", "an empty text")

    @property
    def key(self) -> str:
        """What tells it from all others."""
        return self.name if self.form != "conforming" else f"{self.name}, conforming"

    @property
    def specification(self) -> Specification:
        """Every axiom, for three teachers a, b, c with the safety order a > b > c and whatever gradients they have."""
        order = Order(((0,), (1,), (2,)))
        return Specification(TEACHERS, influence=INFLUENCE, lipschitz=LIPSCHITZ, order=order, pareto=True)

    def weights(self, features: Features) -> Tensor:
        """Return what the operator gives, normalized or not, as the published formula has it."""
        if isinstance(self.operator, RawRule):
            return self.operator.weights(features)
        return self.operator.log_weights(features).exp()
