"""T0, second half: axioms that do not follow from the others, each by an operator that breaks it alone.

Every witness is a plain function of scores; what it breaks and keeps is measured with the axioms' own residuals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.axioms import BoundedInfluence, FunctionOfItsRow, Normalization, OrdinalSafety, Regularity
from trivium.simplex.order import Order
from trivium.theory.rows import TheoremRow

#: What is asked of each witness: three teachers, 0 safest, floor and cap, L nats a unit.
ORDER = Order(((0,), (1,), (2,)))
FLOOR, CAP, LIPSCHITZ = 0.05, 0.9, 1.0
_OFFSET = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
_ROWS = 512

Operator = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class IndependenceWitness:
    """An operator x [N, 3] → log w [N, 3] that breaks one axiom and keeps the others.

    Attributes:
        breaks: the axiom.
        formula: the operator in a line.
        operator: x in [0, high]^3, log weights out, not necessarily normalized.
        high: the end of the feature range.
    """

    breaks: str
    formula: str
    operator: Operator
    high: float = 1.0


def conforming(x: Tensor) -> Tensor:
    """log softmax((1, ½, 0) + x/2): ordered for x in [0, 1]^3 since offsets differ by ½, L = 1, influence ≤ 1.5."""
    return torch.log_softmax(_OFFSET + x / 2, dim=-1)


def _short(x: Tensor) -> Tensor:
    return conforming(x) + math.log(0.9)


def _unbounded(x: Tensor) -> Tensor:
    return torch.log_softmax(x[:, :1] * _OFFSET, dim=-1)


def _switch(x: Tensor) -> Tensor:
    rows = torch.tensor([[0.5, 0.3, 0.2], [0.4, 0.35, 0.25]], dtype=torch.float64).log()
    return rows[(x[:, 0] >= 0.5).long()]


def _anti_ordered(x: Tensor) -> Tensor:
    return torch.log_softmax(_OFFSET.flip(0) + x / 2, dim=-1)


def _coupled(x: Tensor) -> Tensor:
    return torch.log_softmax(_OFFSET + x / 4 + x.mean(dim=0) / 4, dim=-1)


WITNESSES: tuple[IndependenceWitness, ...] = (
    IndependenceWitness("W-F", "softmax((1, ½, 0) + x/4 + mean of the batch/4)", _coupled),
    IndependenceWitness("W-N", "0.9·softmax((1, ½, 0) + x/2)", _short),
    IndependenceWitness("W-B", "softmax(x₀·(1, ½, 0)), x₀ ≥ 0 unbounded: scores without a bound", _unbounded, 700.0),
    IndependenceWitness("W-R", "(.5, .3, .2) below x₀ = ½, (.4, .35, .25) from there: a hard switch", _switch),
    IndependenceWitness("W-S", "softmax((0, ½, 1) + x/2): scores against the order", _anti_ordered),
)


def residuals(operator: Operator, high: float = 1.0) -> dict[str, float]:
    """Return the worst residual of each axiom, less what float64 may round: > 0 is a breach.

    Points: corners of the box, 512 uniform ones, and their middle from both sides. W-R is taken over pairs of
    neighbours at 1e-6 and at large distances, in the sup metric.
    """
    generator = torch.Generator().manual_seed(0)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
    middle = torch.full((2, 3), 0.5, dtype=torch.float64) + torch.tensor([[-1e-9], [1e-9]])
    uniform = torch.rand(_ROWS, 3, generator=generator, dtype=torch.float64)
    x = high * torch.cat([corners, middle, uniform])
    near = (x + 1e-6 * torch.randn(x.shape, generator=generator, dtype=torch.float64).sign()).clamp(0.0, high)
    u, v = torch.cat([x, x[8:9], x]), torch.cat([near, x[9:10], x.flip(0)])
    log_w = operator(x)
    # Row by row for the pairs: a batch may matter to the operator, and that is W-F's to say.
    log_u, log_v = (torch.cat([operator(row[None]) for row in points]) for points in (u, v))
    apart = (u - v).abs().amax(dim=-1)

    def of(features: Mapping[str, Tensor]) -> Tensor:
        return operator(features["x"])

    axioms = (
        (FunctionOfItsRow(), FunctionOfItsRow().residual(of, {"x": x[:64]})),
        (Normalization(), Normalization().residual(log_w)),
        (BoundedInfluence(FLOOR, CAP), BoundedInfluence(FLOOR, CAP).residual(log_w)),
        (Regularity(LIPSCHITZ), Regularity(LIPSCHITZ).residual(log_u, log_v, apart)),
        (OrdinalSafety(ORDER), OrdinalSafety(ORDER).residual(log_w)),
    )
    # Scores as large as the feature range round like it.
    scale = max(16.0, high)
    return {a.id: float(r.max()) - a.tolerance(torch.float64, 3, scale) for a, r in axioms}


def rows() -> tuple[TheoremRow, ...]:
    """Return a row for the operator that conforms, then one a witness."""
    asked = f"floor {FLOOR:g}, cap {CAP:g}, L = {LIPSCHITZ:g}, order 0>1>2"
    found = residuals(conforming)
    base = TheoremRow(
        "All of W-F, W-N, W-B, W-R, W-S can hold at once",
        "ATTAINED",
        f"softmax((1, ½, 0) + x/2), {asked}",
        "largest residual ≤ 0",
        max(found.values()) <= 0,
        found,
    )
    return (base, *(_row(witness) for witness in WITNESSES))


def _row(witness: IndependenceWitness) -> TheoremRow:
    found = residuals(witness.operator, witness.high)
    broken = [axiom for axiom, residual in found.items() if residual > 0]
    alone = broken == [witness.breaks]
    seen = (
        f"residual {found[witness.breaks]:+.3g}, the others ≤ 0" if alone else f"breaks {', '.join(broken) or 'none'}"
    )
    others = ", ".join(axiom for axiom in found if axiom != witness.breaks)
    return TheoremRow(f"{others} imply {witness.breaks}", "REFUTED", witness.formula, seen, alone, found)
