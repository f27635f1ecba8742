"""The conforming projection on the way of a gradient: what is fitted is what runs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.simplex.conforming import ConformingSet
from trivium.simplex.projection import conforming_projection

#: Nats below which two values of a projection count as pooled or as lying on a bound.
_TIE = 1e-11


@dataclass(frozen=True)
class Pushed:
    """What the projection did to columns [K, n]: ``y``, the weights; ``moved`` [m], which columns changed; ``free``
    [K, m], which of their teachers are on no bound; ``block`` [m, K, K], each teacher's weights in the mean of those it
    is pooled with, None where nothing is ordered."""

    y: Tensor
    moved: Tensor
    free: Tensor
    block: Tensor | None

    def pull(self, gradient: Tensor) -> Tensor:
        """Return the gradient with respect to the scores, from that with respect to log y, both [K, n].

        Away from ties Π is smooth. With z = log y − m·r, teachers on the floor or cap do not move; the others, free,
        move by dv + dc with dc = −Σ_free y dv / Σ_free y, as weights sum to one; inside a pooled block
        dv = Σ y dt / Σ y, since y is proportional to ω there. Where two pieces meet one of their derivatives is taken.
        """
        found = gradient - self.y * gradient.sum(0)
        if not len(self.moved):
            return found
        mine = gradient[:, self.moved] * self.free
        y = self.y[:, self.moved] * self.free
        mine = mine - y * (mine.sum(0) / y.sum(0).clamp_min(1e-300))
        if self.block is not None:
            mine = torch.einsum("km,mkj->jm", mine, self.block)
        found[:, self.moved] = mine
        return found


class Projecting:
    """Π(w) of columns of weights (:func:`trivium.simplex.projection.conforming_projection`), with what its transposed
    derivative needs. Columns that conform already are left as they are, which is what Π does."""

    def __init__(self, goal: ConformingSet) -> None:
        self.goal = goal
        self.ranks = torch.tensor(goal.ranks, dtype=torch.float64)
        self.climb = goal.order_margin * self.ranks
        self.low = torch.tensor(goal.floor, dtype=torch.float64).log()
        self.high = torch.tensor(goal.cap, dtype=torch.float64).log() - goal.order_margin * self.ranks.max()
        self.safer = self.ranks[:, None] > self.ranks[None, :]

    def __call__(self, w: Tensor, scores: Tensor) -> tuple[Tensor, Pushed]:
        """y [K, n] of normalized weights w [K, n] and their scores, log w up to a constant a column."""
        outside = (w.amin(0) < self.goal.floor) | (w.amax(0) > self.goal.cap)
        if self.goal.order is not None:
            outside |= self._overturned(scores)
        moved = outside.nonzero().flatten()
        if not len(moved):
            return w, Pushed(w, moved, w[:, :0].bool(), None)
        y = w.clone()
        if self.goal.order is None:
            y[:, moved], free = self._fill(w[:, moved])
            return y, Pushed(y, moved, free, None)
        mine = scores[:, moved].T
        log_y = conforming_projection(mine, self.goal)
        y[:, moved] = log_y.T.exp()
        z = log_y - self.climb
        free = (z > self.low + _TIE) & (z < self.high - _TIE)
        return y, Pushed(y, moved, free.T, self._pooled(mine - self.climb, z, log_y, free))

    def _overturned(self, scores: Tensor) -> Tensor:
        """Return which columns break the order, [n]."""
        t = (scores.T - self.climb).unsqueeze(-1)
        apart = t - t.transpose(-1, -2)
        return (apart[:, self.safer] < 0).any(-1)

    def _fill(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """(clip(c·w, a, b) with c such that it sums to one, [K, m]; which teachers are on no bound).

        Where only floors or only caps bind: those beyond are put on the bound and c is found anew, until none is
        beyond. Each step moves c one way, so none of those comes off again and K steps suffice. The few columns in
        which both bind are left to the projection itself.
        """
        low, high = w.new_tensor(self.goal.floor), w.new_tensor(self.goal.cap)  # bare numbers would give float32
        below = (w < low).any(0)
        bound = torch.where(below, low, high)
        beyond = torch.where(below, w < low, w > high)
        while True:
            rest = w.masked_fill(beyond, 0.0)
            scale = (1.0 - bound * beyond.sum(0)) / rest.sum(0).clamp_min(1e-300)
            moved = rest * scale
            more = torch.where(below, moved < low, moved > high) & ~beyond
            if not bool(more.any()):
                break
            beyond |= more
        y = torch.where(beyond, bound, moved)
        free = ~beyond
        both = torch.where(below, moved > high, moved < low) & free
        rows = both.any(0).nonzero().flatten()
        if len(rows):
            log_y = conforming_projection(w[:, rows].T.log(), self.goal)
            y[:, rows] = log_y.T.exp()
            free[:, rows] = ((log_y > self.low + _TIE) & (log_y < self.high - _TIE)).T
        return y, free

    def _pooled(self, t: Tensor, z: Tensor, log_y: Tensor, free: Tensor) -> Tensor:
        """Return each teacher's share in the mean that it is pooled into, [m, K, K]."""
        apart = t.unsqueeze(-1) - t.unsqueeze(-2)
        pooled = (apart[:, self.safer] < 0).any(-1)
        block = ((z.unsqueeze(-1) - z.unsqueeze(-2)).abs() < _TIE) & free.unsqueeze(-1) & free.unsqueeze(-2)
        block &= pooled[:, None, None]
        block |= torch.eye(len(self.ranks), dtype=torch.bool)
        share = block * log_y.exp().unsqueeze(-2)
        return share / share.sum(-1, keepdim=True)
