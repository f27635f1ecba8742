"""What a search maximizes: the residuals of the axioms of one weight vector, and the worst points seen of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trivium.axioms import BoundedInfluence, Normalization, OrdinalSafety, ParetoCompatibility, Positivity
from trivium.certification.falsify.box import Box
from trivium.certification.specification import Specification
from trivium.simplex.constants import Constants
from trivium.simplex.geometry import influence
from trivium.simplex.rounding import log_slack, weight_slack

#: Points kept of each objective for confirmation.
KEPT = 12


@dataclass(frozen=True)
class Objective:
    """A signed residual of one row, ≤ 0 where it holds.

    Attributes:
        axiom: id of the axiom, or of the declared constant, that it belongs to.
        name: what it measures, in words.
        residual: points [N, D], w and log w [N, K], float64 → [N]; NaN weights give −inf except for W-N, where they
            are the breach.
        in_logs: whether it is a difference of log weights, whose rounding grows with their magnitude.
        strict: whether zero is a breach.
        scale: magnitude of the features, in their units: a score as large is rounded by as many eps.
        rounding: (points, dtype) → [N] where neither says how much of a residual may be rounding.
    """

    axiom: str
    name: str
    residual: Callable[[Tensor, Tensor, Tensor], Tensor]
    in_logs: bool = False
    strict: bool = False
    scale: float = 0.0
    rounding: Callable[[Tensor, torch.dtype], Tensor] | None = None

    def value(self, points: Tensor, weights: Tensor, log_weights: Tensor) -> Tensor:
        """Return the residual [N] with NaN replaced."""
        nothing = math.inf if self.axiom == "W-N" else -math.inf
        return self.residual(points, weights, log_weights).nan_to_num(nan=nothing, posinf=math.inf, neginf=-math.inf)

    def slack(self, points: Tensor, log_weights: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the residual that rounding in ``dtype`` alone may cause, [N]."""
        if self.rounding is not None:
            return self.rounding(points, dtype)
        if self.strict:
            return log_weights.new_full(log_weights.shape[:-1], -math.ulp(0.0))
        if not self.in_logs:
            # exp(s − logsumexp(s)), the way most people write it, rounds logsumexp(s) before it subtracts.
            slack = weight_slack(dtype, log_weights.shape[-1]) + self.scale * torch.finfo(dtype).eps
            return log_weights.new_full(log_weights.shape[:-1], slack)
        scale = log_weights.nan_to_num(nan=0.0, neginf=0.0, posinf=0.0).abs().amax(dim=-1)
        return 2 * torch.finfo(dtype).eps * (scale.clamp(min=16.0) + 4)


def _normalization(points: Tensor, weights: Tensor, log_weights: Tensor) -> Tensor:
    # Of the weights themselves: the logs of a user's weights cannot show a negative one.
    return torch.where(weights.amin(dim=-1) < 0, (weights.sum(dim=-1) - 1).abs(), Normalization().residual(log_weights))


def _positivity(points: Tensor, weights: Tensor, log_weights: Tensor) -> Tensor:
    least = weights.amin(dim=-1)
    return torch.where(least < 0, -least, Positivity().residual(log_weights))


def _pareto(box: Box) -> Objective:
    axiom, num_teachers = ParetoCompatibility(), box.num_teachers

    def residual(points: Tensor, w: Tensor, log_w: Tensor) -> Tensor:
        return axiom.residual_of_gram(w, box.gram(points))

    def rounding(points: Tensor, dtype: torch.dtype) -> Tensor:
        # A projected matrix is rounded like the one it was projected from, which may be far larger.
        largest = torch.maximum(box.gram(points).flatten(1).abs().amax(-1), points[:, box.gram_places].abs().amax(-1))
        return largest * axiom.tolerance_of_gram(dtype, num_teachers, 1.0) + torch.finfo(torch.float64).tiny

    return Objective("W-C", "Pareto compatibility", residual, rounding=rounding)


def objectives(
    specification: Specification, constants: Constants | None = None, scale: float = 0.0, box: Box | None = None
) -> list[Objective]:
    """Return one for each part of each pointwise axiom asked, and of the declared constants when given.

    ``box``: of the points; W-C is asked where it holds gradients.
    """
    asked = [
        Objective("W-N", "normalization", _normalization, scale=scale),
        Objective("W-P", "positivity", _positivity, strict=True),
    ]
    if specification.floor is not None:
        floor = BoundedInfluence(floor=specification.floor)
        asked.append(Objective("W-B", "floor", lambda _, w, log_w: floor.floor - w.amin(dim=-1), scale=scale))
    if specification.cap is not None:
        cap = BoundedInfluence(cap=specification.cap)
        asked.append(Objective("W-B", "cap", lambda _, w, log_w: w.amax(dim=-1) - cap.cap, scale=scale))
    if specification.influence is not None:
        asked.append(_influence("W-B", specification.influence))
    if specification.order is not None:
        order = OrdinalSafety(specification.order, specification.order_margin)
        where = box.flag("critical") if specification.critical and box is not None else None

        def disorder(points: Tensor, w: Tensor, log_w: Tensor) -> Tensor:
            return order.residual(log_w, None if where is None else points[:, where] > 0.5)

        asked.append(Objective("W-S", "safety order", disorder, in_logs=True))
    if specification.pareto and box is not None and box.has_gram:
        asked.append(_pareto(box))
    if constants is not None:
        asked.append(_influence("constants.influence", constants.influence))
        log_ratio = constants.log_ratio

        def below(points: Tensor, w: Tensor, log_w: Tensor) -> Tensor:
            lead = log_w.unsqueeze(-1) - log_w.unsqueeze(-2)
            return (log_ratio - lead).diagonal_scatter(torch.zeros_like(log_w), dim1=-2, dim2=-1).amax(dim=(-1, -2))

        asked.append(Objective("constants.log_ratio", "declared gap", below, in_logs=True))
    return asked


def _influence(axiom: str, budget: float) -> Objective:
    return Objective(axiom, "influence", lambda _, w, log_w: influence(log_w) - budget, in_logs=True)


def jump_slack(dtype: torch.dtype, log_u: Tensor, log_v: Tensor) -> Tensor:
    """Return the residual of W-R that rounding alone may cause, row by row [N]."""
    both = torch.maximum(log_u.abs(), log_v.abs()).nan_to_num(nan=0.0, posinf=0.0).amax(dim=-1)
    return log_slack(dtype, 0.0) + 2 * torch.finfo(dtype).eps * both.clamp(min=16.0)


@dataclass
class WorstPoint:
    """A point, or a pair of points, that may break an axiom."""

    point: Tensor
    residual: float
    excess: float
    dtype: torch.dtype
    objective: Objective | None = None
    other: Tensor | None = None


@dataclass
class Worst:
    """The worst points seen: of each objective the highest residuals, and those that exceed the rounding slack."""

    objectives: list[Objective]
    best: dict[int, list[WorstPoint]] = field(default_factory=dict)

    def observe(
        self, points: Tensor, weights: Tensor, log_weights: Tensor, asked: torch.dtype, rounded: torch.dtype
    ) -> None:
        """Note a batch that was evaluated in dtype ``asked`` and came back rounded as ``rounded``."""
        if len(points) == 0:
            return
        for index, objective in enumerate(self.objectives):
            residual = objective.value(points, weights, log_weights)
            excess = residual - objective.slack(points, log_weights, rounded)
            top = excess.topk(min(3, len(excess)))
            kept = self.best.setdefault(index, [])
            # A residual that rounding may explain in bfloat16 must not hide one that it cannot in float64.
            floor = min((c.excess for c in kept), default=-math.inf) if len(kept) >= KEPT else -math.inf
            for value, row in zip(top.values.tolist(), top.indices.tolist(), strict=True):
                if value > floor:
                    kept.append(WorstPoint(points[row].clone(), float(residual[row]), value, asked, objective))
            kept.sort(key=lambda c: -c.excess)
            del kept[KEPT:]

    def merge(self, other: Worst) -> None:
        """Add what another saw of some of the same objectives."""
        for index, kept in other.best.items():
            place = self.objectives.index(other.objectives[index])
            both = sorted(self.best.get(place, []) + kept, key=lambda c: -c.excess)
            self.best[place] = both[:KEPT]

    def starts(self, index: int) -> Tensor | None:
        """Return the points kept of one objective, [M, D]."""
        kept = self.best.get(index, [])
        return torch.stack([c.point for c in kept]) if kept else None
