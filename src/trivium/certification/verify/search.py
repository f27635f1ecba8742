"""Branch and bound: the box is split until every part is below its limit, or the work is spent.

Parts are (sub-box, goal) pairs, thousands of them in one run of the program. Where a goal is monotone along a
coordinate the sub-box is replaced by the face on which it is largest, which is exact and lowers the dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.certification.decisions import COMPARISON
from trivium.certification.verify.goals import ROUNDING, Goal, reach
from trivium.certification.verify.interpreter import Reading

#: Slopes as small as this move nothing by more than the comparison of bounds allows.
_FLAT = 1e-290
Deadline = Callable[[], bool]
#: Sub-boxes at most for W-N.
_SUMS = 1000


@dataclass
class Outcome:
    """The result of a search: how far it came.

    Attributes:
        proved: whether every goal holds over the whole box.
        worst: per goal, an upper bound of its quantity over the box.
        attained: per goal, a value that it does take, as far as seen.
        boxes: sub-boxes bounded.
        reason: why a sub-box could not be bounded at all, if one could not.
        where: the sub-box that is furthest from being proved, [D] twice.
        rounding: what rounding adds at most in the sub-boxes that were settled, relative to the slack of the axiom.
    """

    proved: bool
    worst: Tensor
    attained: Tensor
    boxes: int
    reason: str
    where: tuple[Tensor, Tensor]
    rounding: float


class BranchAndBound:
    """The parts still open for goals of one kind, the most doubtful first."""

    def __init__(
        self, program: Reading, dtype: torch.dtype, goals: list[Goal], work: float, deadline: Deadline
    ) -> None:
        self.program, self.dtype, self.goals = program, dtype, goals
        self.deadline, kind = deadline, goals[0].kind
        # A unit of work is one entry of a Jacobian that one operation computes.
        self.rows, self.budget = program.rows, max(1, int(work / program.cost))
        if kind == "sum":  # exact or hopeless: splitting helps only where an operation may be undefined
            self.budget = min(self.budget, _SUMS)
        self.limit = torch.tensor([goal.limit for goal in goals], dtype=torch.float64)
        self.limit = self.limit + COMPARISON * self.limit.abs().clamp(min=1.0)
        if kind == "weight":  # a weight is positive, not at least minus the comparison
            strict = torch.tensor([goal.axiom == "W-P" for goal in goals])
            exact = torch.tensor([goal.limit for goal in goals], dtype=torch.float64)
            self.limit = torch.where(strict, exact, self.limit)
        self.settled = torch.full((len(goals),), -math.inf, dtype=torch.float64)
        self.attained = self.settled.clone()
        self.boxes, self.reason, self.rounding = 0, "", 0.0
        self.low = program.low.expand(len(goals), -1).clone()
        self.high = program.high.expand(len(goals), -1).clone()
        self.which = torch.arange(len(goals))
        self.above = torch.full((len(goals),), math.inf, dtype=torch.float64)

    def run(self) -> Outcome:
        """Until all is settled, a limit is surely exceeded, or the work is spent."""
        refuted = False
        while len(self.which) and not refuted and self.boxes < self.budget and not self.deadline():
            refuted = self._step()
        worst = self.settled.clone()
        worst.scatter_reduce_(0, self.which, self.above, "amax")
        place = int((self.above - self.limit[self.which]).argmax()) if len(self.which) else -1
        where = (self.low[place], self.high[place]) if place >= 0 else (self.program.low, self.program.high)
        return Outcome(not len(self.which), worst, self.attained, self.boxes, self.reason, where, self.rounding)

    def _step(self) -> bool:
        size = min(self.rows, len(self.which), max(1, self.budget - self.boxes))
        doubt = self.above - self.limit[self.which]
        taken = doubt.topk(size).indices if size < len(doubt) else torch.arange(len(doubt))
        kept = torch.ones(len(doubt), dtype=torch.bool)
        kept[taken] = False
        low, high, which, parent = self.low[taken], self.high[taken], self.which[taken], self.above[taken]
        weights, run = self.program.run(low, high)
        found = reach(weights, run, self.dtype, self.goals, which)
        self.boxes += size
        if not self.reason and bool(run.bad.any()):
            self.reason = run.reason
        above = torch.minimum(found.above, parent)
        self.attained.scatter_reduce_(0, which, found.attained, "amax")
        coarse = ~(found.rounding <= ROUNDING)
        if not self.reason and bool(coarse.any()):
            kind = str(self.dtype).removeprefix("torch.")
            self.reason = f"rounding in {kind} may exceed {ROUNDING:g} times what is tolerated"
        done = (above <= self.limit[which]) & ~coarse
        self.settled.scatter_reduce_(0, which[done], above[done], "amax")
        self._tolerate(found.rounding[done])
        refuted = bool((found.attained > self.limit[which]).any())
        # What a face is bounded for holds of the rest as far as rounding and undefined numbers were settled before.
        firm = ~(coarse | run.bad)
        parts = self._divide(
            low[~done], high[~done], which[~done], above[~done], found.slopes, ~done, firm, found.rounding
        )
        self.low, self.high, self.which, self.above = (
            torch.cat([old[kept], new])
            for old, new in zip((self.low, self.high, self.which, self.above), parts, strict=True)
        )
        return refuted

    def _tolerate(self, rounding: Tensor) -> None:
        if len(rounding):
            self.rounding = max(self.rounding, float(rounding.max()))

    def _divide(
        self,
        low: Tensor,
        high: Tensor,
        which: Tensor,
        above: Tensor,
        slopes: tuple[Tensor, Tensor] | None,
        rows: Tensor,
        firm: Tensor,
        rounding: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Faces where monotone, halves of the others."""
        if not len(low):
            return low, high, which, above
        width = high - low
        importance = width / (self.program.high - self.program.low)
        faced = torch.zeros(len(low), dtype=torch.bool)
        if slopes is not None:
            below, up = slopes[0][rows], slopes[1][rows]
            rising, falling = (below >= -_FLAT) & (width > 0), (up <= _FLAT) & (width > 0)
            rising, falling = rising & firm[rows][:, None], falling & firm[rows][:, None]
            faced = (rising | falling).any(dim=-1)
            self._tolerate(rounding[rows][faced])
            low, high = torch.where(rising, high, low), torch.where(falling & ~rising, low, high)
            smear = torch.maximum(below.abs(), up.abs()) * width
            # Where a slope is unknown the widest side is split; elsewhere the side that matters most.
            importance = torch.where(smear.isfinite().all(dim=-1, keepdim=True), smear, importance)
        return self._halves(low, high, which, above, importance, faced)

    def _halves(
        self, low: Tensor, high: Tensor, which: Tensor, above: Tensor, importance: Tensor, faced: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        side = importance.argmax(dim=-1, keepdim=True)
        a, b = low.gather(1, side), high.gather(1, side)
        middle = a / 2 + b / 2
        split = ~faced & ((middle > a) & (middle < b)).squeeze(1)
        # What is a point, or as good as one, stays: it cannot be settled.
        first_high = torch.where(split[:, None], high.scatter(1, side, middle), high)
        second_low = low.scatter(1, side, middle)[split]
        return (
            torch.cat([low, second_low]),
            torch.cat([first_high, high[split]]),
            torch.cat([which, which[split]]),
            torch.cat([above, above[split]]),
        )
