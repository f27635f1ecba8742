"""What each axiom asks, as quantities of one row that must stay below a limit over the whole box."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.certification.specification import Specification
from trivium.certification.verify import interval as iv
from trivium.certification.verify.bounds import Enclosure, SubBoxes, relative_of
from trivium.certification.verify.functions import scores_of
from trivium.certification.verify.interval import Interval, magnitude
from trivium.certification.verify.normalization import differences
from trivium.certification.verify.rounding import least_normal, own
from trivium.simplex.rounding import log_slack, weight_slack

#: Rounding, bounded in the worst case, may be this many times the slack of an axiom; the tolerance then says so.
ROUNDING = 8.0
#: Half ulps that a logarithm is off by: one ulp.
_LOG = 2.01


@dataclass(frozen=True)
class Goal:
    """quantity ≤ limit. ``kind`` says which quantity of the weights:

    =========  ==========================================
    weight     sign·w_j
    ratio      log w_j − log w_k
    slope      Σ_i |∂(log w_j − log w_k)/∂u_i|
    sum        |Σ w − 1|
    =========  ==========================================
    """

    axiom: str
    name: str
    kind: str
    limit: float
    j: int = 0
    k: int = 0
    sign: float = 1.0


@dataclass(frozen=True)
class Reach:
    """Of one goal over one sub-box each: an upper bound, a value that is attained, slopes where it has some, and what
    the rounding of the graph may add, relative to what the axiom tolerates in the format of the run."""

    above: Tensor
    attained: Tensor
    slopes: Interval | None
    rounding: Tensor


def goals(specification: Specification, dtype: torch.dtype = torch.float32) -> dict[str, list[Goal]]:
    """By axiom, for a run in ``dtype``; W-F is not among them."""
    teachers = range(specification.num_teachers)
    pairs = [(j, k) for j in teachers for k in teachers if j != k]
    asked = {
        "W-N": [Goal("W-N", "|Σ w − 1|", "sum", 0.0)],
        "W-P": [Goal("W-P", "−min w", "weight", -least_normal(dtype), j, sign=-1.0) for j in teachers],
        "W-B": [],
        "W-R": [],
        "W-S": [],
    }
    if specification.floor is not None:
        asked["W-B"] += [Goal("W-B", "floor", "weight", -specification.floor, j, sign=-1.0) for j in teachers]
    if specification.cap is not None:
        asked["W-B"] += [Goal("W-B", "cap", "weight", specification.cap, j) for j in teachers]
    if specification.influence is not None:
        asked["W-B"] += [Goal("W-B", "influence", "ratio", specification.influence, j, k) for j, k in pairs]
    if specification.lipschitz is not None:
        asked["W-R"] = [Goal("W-R", "L", "slope", specification.lipschitz, j, k) for j, k in pairs if j < k]
    if specification.critical:  # sub-boxes of all inputs say nothing of some of them
        del asked["W-S"]
    elif specification.order is not None:
        order = [(safer, less) for safer, less in specification.order.pairs()]
        asked["W-S"] = [
            Goal("W-S", "order", "ratio", -specification.order_margin, less, safer) for safer, less in order
        ]
    return {axiom: asked[axiom] for axiom in specification.axioms if axiom in asked}


def reach(weights: Enclosure, run: SubBoxes, dtype: torch.dtype, goals: list[Goal], which: Tensor) -> Reach:
    """Return the goals ``which`` [N], all of one kind, over the sub-boxes of a run in a floating format."""
    kind = goals[0].kind
    if kind == "sum":
        found = _sum(weights, run, dtype)
    elif kind == "weight":
        found = _weight(weights, dtype, goals, which)
    else:
        found = _pair(weights, run, dtype, goals, which)
    bad = run.bad | found.above.isnan()
    return Reach(
        found.above.masked_fill(bad, math.inf),
        found.attained.masked_fill(bad, -math.inf),
        found.slopes,
        found.rounding.expand(run.count),
    )


def _gather(x: Interval, places: Tensor, count: int) -> Interval:
    """Entry ``places[n]``, repeated, of each of ``count`` rows of [count or 1, M, ...]."""
    rows = [bound.expand(count, *bound.shape[1:]) for bound in x]
    numbers, twice = torch.arange(count), places.repeat(count // len(places))
    return rows[0][numbers, twice], rows[1][numbers, twice]


def _errors_at(errors: Tensor, places: Tensor) -> Tensor:
    """[N] from [N or 1, M]."""
    return errors.expand(len(places), -1)[torch.arange(len(places)), places]


def _slopes_at(x: Enclosure, places: Tensor) -> Interval | None:
    inner = x.jacobian
    return None if inner is None else _gather(inner, places, x.run.count)


def _weight(weights: Enclosure, dtype: torch.dtype, goals: list[Goal], which: Tensor) -> Reach:
    n = weights.run.count
    place = torch.tensor([goal.j for goal in goals])[which]
    sign = torch.tensor([goal.sign for goal in goals], dtype=torch.float64)[which]
    low, high = _gather(weights.value, place, 2 * n)
    slopes = _slopes_at(weights, place)
    up = sign > 0
    if slopes is not None:
        slopes = (
            torch.where(up[:, None], slopes[0], -slopes[1]),
            torch.where(up[:, None], slopes[1], -slopes[0]),
        )
    above, attained = torch.where(up, high[:n], -low[:n]), torch.where(up, low[n:], -high[n:])
    if slopes is not None:
        centre = torch.where(up, low[n:], -high[n:]), torch.where(up, high[n:], -low[n:])
        above = torch.minimum(above, _near(centre, slopes, weights.run))
    if goals[0].axiom == "W-P":  # a sign survives any relative error below one
        return Reach(above, attained, slopes, 2 * ROUNDING * _errors_at(relative_of(weights), place))
    return Reach(above, attained, slopes, _errors_at(weights.error, place) / weight_slack(dtype, weights.width))


def _near(centre: Interval, slopes: Interval, run: SubBoxes) -> Tensor:
    lifted = (centre[0].unsqueeze(1), centre[1].unsqueeze(1)), (slopes[0].unsqueeze(1), slopes[1].unsqueeze(1))
    return iv.mean_value(*lifted, run.radius)[1].squeeze(1)


def _pair(weights: Enclosure, run: SubBoxes, dtype: torch.dtype, goals: list[Goal], which: Tensor) -> Reach:
    n = run.count
    j, k = (torch.tensor([getattr(goal, end) for goal in goals])[which] for end in ("j", "k"))
    logs = scores_of(weights)
    positive = (weights.box[0] > 0).expand(n, -1).all(dim=-1)
    one, other = _slopes_at(logs, j), _slopes_at(logs, k)
    slopes = None if one is None or other is None else iv.sub(one, other)
    errors = _of_logs(weights, dtype)
    error = (_errors_at(errors, j) + _errors_at(errors, k)) / log_slack(dtype)
    if goals[0].kind == "slope":
        if slopes is None:
            nothing = torch.zeros(n, dtype=torch.float64)
            return Reach(nothing.masked_fill(~positive, math.inf), nothing, None, 2 * error)
        steep = iv.total((iv.mignitude(slopes), magnitude(slopes)), 1)
        above = torch.minimum(steep[1], steepest(weights))
        return Reach(above.masked_fill(~positive, math.inf), steep[0], None, 2 * error)
    low, high = iv.sub(_gather(logs.value, j, 2 * n), _gather(logs.value, k, 2 * n))
    above = high[:n]
    if slopes is not None:
        above = torch.minimum(above, _near((low[n:], high[n:]), slopes, run))
    return Reach(above.masked_fill(~positive, math.inf), low[n:], slopes, error)


def _of_logs(weights: Enclosure, dtype: torch.dtype) -> Tensor:
    """Return how far the log that the graph takes of its weights may lie from that of the real weights, [N or 1, K]."""
    low, high = weights.wide_box
    low = torch.maximum(low, weights.box[0] * torch.exp(-relative_of(weights)))
    size = torch.maximum(low.clamp_min(0.0).log().abs(), high.clamp_min(0.0).log().abs())
    size = torch.where(low >= least_normal(dtype), size, math.inf)
    return relative_of(weights) + own(weights.dtype, size, _LOG)


def steepest(x: Enclosure) -> Tensor:
    """Return the largest slope of any log x_j − log x_k, [N], by way of what moves at least as far; ∞ if
    nothing does."""
    found = torch.full((x.run.count,), math.inf, dtype=torch.float64)
    if x.dominant is not None:
        found = torch.minimum(_steepest(scores_of(x.dominant)), steepest(x.dominant))
    scores = scores_of(x)
    return found if scores.limited is None else torch.minimum(found, _steepest(scores.limited.core))


def _steepest(scores: Enclosure) -> Tensor:
    steep = differences(scores)[1]
    if steep is None:
        return torch.zeros(scores.run.count, dtype=torch.float64)
    return iv.total((iv.mignitude(steep), magnitude(steep)), -1)[1].flatten(1).amax(dim=1)


def _sum(weights: Enclosure, run: SubBoxes, dtype: torch.dtype) -> Reach:
    n, slack = run.count, weight_slack(dtype, weights.width)
    total = weights.as_total if weights.constant else weights.total
    if total is not None:
        off = torch.full((n,), total.distance(1.0, run.magnitudes), dtype=torch.float64)
        error = torch.full((n,), total.sum_error / slack, dtype=torch.float64)
        return Reach(off, torch.zeros(n, dtype=torch.float64), None, error)
    low, high = (bound.expand(2 * n) for bound in iv.total(weights.value, -1))
    most, least = torch.maximum(high - 1, 1 - low), torch.maximum(low - 1, 1 - high).clamp(min=0.0)
    return Reach(most[:n], least[n:], None, weights.error.sum(-1) / slack)
