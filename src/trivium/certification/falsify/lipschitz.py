"""W-R and declared regularity: pairs of points whose weights differ by more than their distance allows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trivium.axioms import Regularity
from trivium.certification.falsify.ascent import climb
from trivium.certification.falsify.box import Box
from trivium.certification.falsify.objectives import WorstPoint, jump_slack
from trivium.certification.falsify.points import Points
from trivium.simplex.constants import Constants
from trivium.simplex.geometry import influence
from trivium.simplex.rounding import log_slack

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
_CUTS = 33
#: Nats that a rule without a graph may lose to rounding before it is called a break.
_MOST_NOISE = {torch.float64: 1e-6, torch.float32: 1e-3}


@dataclass(frozen=True)
class Allowance:
    """How far weights may move: L·max_f d_f for W-R, Σ_f L_f·d_f for declared constants, d_f in the sup norm."""

    axiom: str
    lipschitz: float = 0.0
    by_feature: tuple[float, ...] = ()

    @classmethod
    def declared(cls, constants: Constants, box: Box) -> Allowance:
        """Return what a rule's constants allow; a feature that they do not name may change nothing."""
        return cls("constants.lipschitz", by_feature=tuple(constants.lipschitz.get(f, 0.0) for f in box.ranges))

    def __call__(self, distances: Tensor) -> Tensor:
        """[N] nats for the distances [N, F] of each feature."""
        if not self.by_feature:
            return self.lipschitz * distances.amax(dim=-1)
        steep = torch.tensor(self.by_feature, dtype=torch.float64)
        return torch.where(distances > 0, steep * distances, torch.zeros_like(distances)).sum(dim=-1)


@dataclass
class Pairs:
    """Keeps the worst pairs seen under one allowance."""

    allowance: Allowance
    box: Box
    dtype: torch.dtype
    noise: float = 0.0  # nats that rounding inside the rule may account for
    worst: float = -math.inf
    kept: list[WorstPoint] = field(default_factory=list)

    @property
    def tolerance(self) -> float:
        """Residuals up to this may be rounding: that of the dtype, or what the operations of the rule add up to."""
        return max(log_slack(self.dtype), self.noise)

    def residual(self, u: Tensor, v: Tensor, log_u: Tensor, log_v: Tensor) -> Tensor:
        """d_H(w(u), w(v)) − allowance [N]; −inf where weights are not numbers, which is a matter of W-N, or underflow
        in less than float64, which is one of W-P."""
        allowed = self.allowance(self.box.distances(self._cast(u), self._cast(v)))
        found = Regularity().residual(log_u, log_v, allowed)
        if self.dtype is not torch.float64:
            found = torch.where((log_u.isinf() | log_v.isinf()).any(dim=-1), math.nan, found)
        return found.nan_to_num(nan=-math.inf, posinf=math.inf)

    def observe(self, u: Tensor, v: Tensor, log_u: Tensor, log_v: Tensor) -> Tensor:
        """Note pairs; returns their residuals."""
        residual = self.residual(u, v, log_u, log_v)
        if len(u) == 0:
            return residual
        apart = (self._cast(u) != self._cast(v)).any(dim=-1)
        seen = torch.where(apart, residual, torch.full_like(residual, -math.inf))
        self.worst = max(self.worst, float(seen.max()))
        beyond = seen - jump_slack(self.dtype, log_u, log_v).clamp(min=self.noise)
        top = torch.where(seen == math.inf, math.inf, beyond).topk(min(3, len(seen)))
        for value, row in zip(top.values.tolist(), top.indices.tolist(), strict=True):
            if math.isfinite(value) or value > 0:
                pair = WorstPoint(u[row].clone(), float(residual[row]), value, self.dtype, other=v[row].clone())
                self.kept.append(pair)
        self.kept.sort(key=lambda c: -c.excess)
        del self.kept[12:]
        return residual

    def _cast(self, points: Tensor) -> Tensor:
        """As the operator sees them."""
        return points if self.dtype is torch.float64 else self.box.cast(points, self.dtype).double()


def zoom(
    u: Tensor, v: Tensor, evaluate: Evaluate, pairs: Pairs, *, levels: int = 9, bends: bool = False
) -> tuple[Tensor, Tensor]:
    """Cut each segment [M, D] into 32 and keep the piece with the highest residual, again and again.

    The residuals of the pieces add up to at least that of the whole (the triangle inequality), so where the whole
    breaks W-R some piece does: nine cuts reach the two sides of a jump, 32⁻⁹ of the segment apart. With ``bends`` the
    piece kept is that whose change departs most from the median change, which finds jumps against the trend.
    """
    d = u.shape[1]
    t = torch.linspace(0, 1, _CUTS, dtype=torch.float64)[None, :, None]
    for _ in range(levels):
        if len(u) == 0:
            break
        path = pairs.box.snap(u[:, None] + t * (v - u)[:, None])
        path[:, -1] = v
        log_w = evaluate(path.reshape(-1, d))[1].reshape(len(u), _CUTS, -1)
        flat = [x.reshape(-1, x.shape[-1]) for x in (path[:, :-1], path[:, 1:], log_w[:, :-1], log_w[:, 1:])]
        residual = pairs.observe(*flat).reshape(len(u), _CUTS - 1)
        if bends:
            change = (log_w[:, 1:] - log_w[:, :-1]).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
            steepest = influence(change - change.median(dim=1, keepdim=True).values).argmax(dim=1)
        else:
            steepest = residual.argmax(dim=1)
        rows = torch.arange(len(u))
        u, v = path[rows, steepest], path[rows, steepest + 1]
    return u, v


def noise(u: Tensor, v: Tensor, evaluate: Evaluate, pairs: Pairs) -> float:
    """The jump left when ordinary segments are cut down to nothing: what rounding inside the rule does, in nats.

    The median over the segments, so that a rule with some real jumps is not excused, and at most 1e-6 in float64. Asked
    of operators that have no graph to derive it from.
    """
    silent = Pairs(Allowance("", lipschitz=0.0), pairs.box, pairs.dtype)
    a, b = zoom(u, v, evaluate, silent, levels=11)
    log_a, log_b = evaluate(a)[1], evaluate(b)[1]
    jump = silent.residual(a, b, log_a, log_b)
    jump = jump[jump.isfinite()]
    return min(_MOST_NOISE[pairs.dtype], float(jump.median())) if len(jump) else 0.0


def steepness(points: Tensor, evaluate: Evaluate, pairs: Pairs, step: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return local slopes by one-sided differences with a step of ``step`` of the span, inwards at an edge.

    For two teachers i, j the steepest direction in a sup metric moves each coordinate by the sign of its slope, so
    the local constant is max over i, j of Σ |∂(log w_i − log w_j)/∂u|, each feature weighed by what it is allowed.

    Returns:
        the slope in units of the allowance [N], and the two ends [N, D] of a step along the steepest direction.
    """
    box = pairs.box
    n, d = points.shape
    h = torch.where(box.integer, torch.ones_like(box.span), step * box.span)
    h = torch.where(points + h > box.high, -h, h)
    moved = points[:, None] + torch.diag_embed(h.expand(n, d))
    log_w = evaluate(torch.cat([points[:, None], moved], dim=1).reshape(-1, d))[1].reshape(n, d + 1, -1)
    slope = ((log_w[:, 1:] - log_w[:, :1]) / h[..., None]).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    lead = slope.unsqueeze(-1) - slope.unsqueeze(-2)  # [N, D, K, K]
    size = torch.stack([lead[:, group].abs().sum(dim=1) for group in box.groups], dim=1)  # [N, F, K, K]
    allowance = pairs.allowance
    if allowance.by_feature:
        allowed = torch.tensor(allowance.by_feature, dtype=torch.float64).clamp(min=1e-12)[:, None, None]
        ratio = size / allowed
        feature = ratio.amax(dim=(2, 3)).argmax(dim=1)
        active = box.feature[None, :] == feature[:, None]
        total = ratio[torch.arange(n), feature]
    else:
        active = torch.ones(n, d, dtype=torch.bool)
        total = size.sum(dim=1)
    k = total.shape[-1]
    flat = total.reshape(n, -1)
    best = flat.argmax(dim=1)
    i, j = best // k, best % k
    rows = torch.arange(n)
    direction = lead[rows, :, i, j].sign() * active
    return flat[rows, best], points, direction


def stretch(points: Tensor, direction: Tensor, evaluate: Evaluate, pairs: Pairs) -> None:
    """Walk from each point along and against its direction by lengths of all sizes and note the pairs.

    A slope just above L breaks W-R by more than rounding only over a long enough step.
    """
    box = pairs.box
    reach = float(box.span.max()) if box.dimension else 0.0
    lengths = reach * 10 ** torch.linspace(-8, 0, 25, dtype=torch.float64)
    for shift in (0.0, 0.5, 1.0):
        a = box.snap(points[:, None] - shift * lengths[None, :, None] * direction[:, None])
        b = box.snap(a + lengths[None, :, None] * direction[:, None])
        a, b = a.reshape(-1, box.dimension), b.reshape(-1, box.dimension)
        pairs.observe(a, b, evaluate(a)[1], evaluate(b)[1])


def climb_slopes(starts: Tensor, evaluate: Evaluate, pairs: Pairs, points: Points, effort: int) -> None:
    """Evolve points toward the steepest place, then stretch a pair there."""
    for step in (1e-6, 1e-3):
        final = climb(
            lambda batch, step=step: steepness(batch, evaluate, pairs, step)[0],  # type: ignore[misc]
            starts,
            points,
            generations=effort,
            children=8,
        )
        slope, base, direction = steepness(final, evaluate, pairs, step)
        top = slope.topk(min(16, len(slope))).indices
        stretch(base[top], direction[top], evaluate, pairs)


def climb_pairs(evaluate: Evaluate, pairs: Pairs, points: Points, effort: int) -> None:
    """Evolve the worst pairs themselves: both ends together, or one alone."""
    if not pairs.kept:
        return
    box = pairs.box
    u = torch.stack([c.point for c in pairs.kept])
    v = torch.stack([c.other for c in pairs.kept if c.other is not None])
    m, d = u.shape
    rows, children = torch.arange(m), 16
    for _ in range(effort):
        shape = (m, children, d)
        size = 10 ** (-8 * torch.rand((m, children, 1), generator=points.generator, dtype=torch.float64))
        shift, own = (
            torch.randn(shape, generator=points.generator, dtype=torch.float64) * size * box.span for _ in "uv"
        )
        kind = torch.rand((m, children, 1), generator=points.generator)
        a = box.snap(u[:, None] + torch.where(kind < 0.7, shift, torch.zeros_like(shift))).reshape(-1, d)
        b = box.snap(v[:, None] + torch.where(kind < 0.35, shift, torch.where(kind < 0.7, own, own * 0.1))).reshape(
            -1, d
        )
        reached = pairs.observe(a, b, evaluate(a)[1], evaluate(b)[1]).reshape(m, children)
        now = pairs.residual(u, v, evaluate(u)[1], evaluate(v)[1])
        champion = reached.argmax(dim=1)
        better = reached[rows, champion] > now
        u = torch.where(better[:, None], a.reshape(shape)[rows, champion], u)
        v = torch.where(better[:, None], b.reshape(shape)[rows, champion], v)
