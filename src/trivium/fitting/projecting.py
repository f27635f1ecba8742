"""The conforming projection on the way of a gradient: what is fitted is what runs."""

from __future__ import annotations

import torch
from torch import Tensor

from trivium.simplex.conforming import ConformingSet
from trivium.simplex.projection import conforming_projection

#: Nats below which two values of a projection count as pooled or as lying on a bound.
_TIE = 1e-11


class Projecting:
    """Π(w) of rows of scores (:func:`trivium.simplex.projection.conforming_projection`), and its transposed
    derivative.

    Away from ties Π is smooth. With z = log y − m·r, teachers on the floor or cap do not move; the others, free, move
    by dv + dc with dc = −Σ_free y dv / Σ_free y, as weights sum to one; inside a pooled block dv = Σ y dt / Σ y, since
    y is proportional to ω there. Where two pieces meet one of their derivatives is taken. Rows that conform already are
    left as they are, which is what Π does.
    """

    def __init__(self, goal: ConformingSet) -> None:
        self.goal = goal
        self.ranks = torch.tensor(goal.ranks, dtype=torch.float64)
        self.climb = goal.order_margin * self.ranks
        self.low = torch.tensor(goal.floor, dtype=torch.float64).log()
        self.high = torch.tensor(goal.cap, dtype=torch.float64).log() - goal.order_margin * self.ranks.max()
        self.safer = self.ranks[:, None] > self.ranks[None, :]

    def __call__(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """log y [n, K] of scores [n, K], and which rows were moved, [n]."""
        log_w = scores - scores.logsumexp(-1, keepdim=True)
        moved = self._outside(log_w)
        if bool(moved.any()):
            log_w[moved] = conforming_projection(log_w[moved], self.goal)
        return log_w, moved

    def _outside(self, log_w: Tensor) -> Tensor:
        outside = (log_w.amin(-1) < self.low) | (log_w.amax(-1) > self.high + self.climb.max())
        if self.goal.order is not None:
            apart = log_w.unsqueeze(-1) - log_w.unsqueeze(-2) - (self.climb[:, None] - self.climb[None, :])
            outside |= (apart[:, self.safer] < 0).any(-1)
        return outside

    def pull(self, gradient: Tensor, scores: Tensor, log_y: Tensor, moved: Tensor) -> Tensor:
        """The gradient with respect to the scores, from that with respect to log y, both [n, K]."""
        found = gradient - log_y.exp() * gradient.sum(-1, keepdim=True)
        if bool(moved.any()):
            found[moved] = self._pull(gradient[moved], scores[moved], log_y[moved])
        return found

    def _pull(self, gradient: Tensor, scores: Tensor, log_y: Tensor) -> Tensor:
        z = log_y - self.climb
        free = (z > self.low + _TIE) & (z < self.high - _TIE)
        y = log_y.exp() * free
        mass = y.sum(-1, keepdim=True).clamp_min(1e-300)
        gradient = gradient * free
        gradient = gradient - y / mass * gradient.sum(-1, keepdim=True)
        if self.goal.order is None:
            return gradient
        t = scores - self.climb
        apart = t.unsqueeze(-1) - t.unsqueeze(-2)
        pooled = (apart[:, self.safer] < 0).any(-1)
        block = ((z.unsqueeze(-1) - z.unsqueeze(-2)).abs() < _TIE) & free.unsqueeze(-1) & free.unsqueeze(-2)
        block &= pooled[:, None, None]
        block |= torch.eye(len(self.ranks), dtype=torch.bool)
        share = block * log_y.exp().unsqueeze(-2)
        share = share / share.sum(-1, keepdim=True)
        return (gradient.unsqueeze(-1) * share).sum(-2)
