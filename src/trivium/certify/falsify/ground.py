"""What every pass of a search shares: the operator under evaluation, its points, what was seen, and how much to do."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from trivium.certify.falsify.box import Box
from trivium.certify.falsify.clock import Clock
from trivium.certify.falsify.objectives import Worst, objectives
from trivium.certify.falsify.points import Points
from trivium.certify.falsify.probe import Probe
from trivium.certify.falsify.regularity import Allowance, Pairs
from trivium.certify.falsify.trace import Precision
from trivium.certify.question import Question
from trivium.simplex.constants import Constants
from trivium.weighting.base import Operator

#: Seconds are a stop, not a measure: the search ends at this many times its nominal ones, by its :class:`Clock`.
HARD_STOP = 4.0
_MOST_SCALE = 32.0
#: Numbers a row up to which a search takes its full number of rows.
_WIDTH = 128
#: Microseconds a row above which a rule is called slow, and the share of the search that it gets.
_SLOW = ((60.0, 1 / 32), (6.0, 1 / 6))


@dataclass
class Ground:
    """The state of one search.

    Attributes:
        probe: evaluates the operator.
        points: where points come from.
        worst: the worst points of every pointwise objective.
        pairs: the worst pairs of W-R and of declared regularity.
        dtype: float64, or float32 for an operator that cannot be evaluated in float64.
        effort: 1 for five nominal seconds; every count is proportional to it.
        said: what was searched, in words.
    """

    probe: Probe
    points: Points
    worst: Worst
    pairs: list[Pairs]
    dtype: torch.dtype
    effort: float
    said: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, operator: Operator, question: Question, seconds: float, seed: int, constants: Constants | None
    ) -> Ground:
        """Before anything was evaluated but the center of the box and, for its pace, some random rows."""
        box = Box.of(operator, question.teachers)
        probe = Probe(operator, box, limit=HARD_STOP * max(seconds, 0.5))
        usable = [d for d in (torch.float64, torch.float32) if probe.accepts(box.center, d)]
        dtype = usable[0] if usable else torch.float64
        size = torch.maximum(box.low.abs(), box.high.abs())[~box.integer]
        scale = min(_MOST_SCALE, float(size.max())) if len(size) else 0.0
        allowances = [] if question.lipschitz is None else [Allowance("W-R", lipschitz=question.lipschitz)]
        if constants is not None:
            allowances.append(Allowance.declared(constants, box))
        pairs = [Pairs(allowance, box, dtype) for allowance in allowances]
        worst = Worst(objectives(question, constants, scale, box))
        ground = cls(probe, Points(box, seed), worst, pairs, dtype, min(20.0, max(0.05, seconds / 5)))
        if box.dimension > _WIDTH:
            ground.effort *= _WIDTH / box.dimension
        ground._pace()
        ground._read_precision()
        return ground

    @property
    def box(self) -> Box:
        """The feature box."""
        return self.probe.box

    @property
    def rounding(self) -> torch.dtype:
        """The coarsest dtype at work when features come in ``dtype``."""
        return self.probe.rounding.get(self.dtype, self.dtype)

    def see(self, points: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        """(w, log w) [N, K], observed by every pointwise objective."""
        asked = dtype or self.dtype
        weights, log_weights = self.probe(points, asked)
        self.worst.observe(points, weights, log_weights, asked, self.probe.rounding.get(asked, asked))
        return weights, log_weights

    def count(self, number: int) -> int:
        """A number of rows at effort 1, for this search."""
        return max(64, int(number * self.effort))

    def shuffled(self, pool: Tensor) -> Tensor:
        """The rows of a pool in random order."""
        return pool[torch.randperm(len(pool), generator=self.points.generator)]

    def _pace(self) -> None:
        """A rule that loops over rows in Python is searched with fewer of them."""
        rows = self.points.uniform(512)
        spent = []
        for _ in range(3):
            clock = Clock()
            self.probe.accepts(rows, self.dtype)
            spent.append(1e6 * clock.seconds() / len(rows))
        for limit, share in _SLOW:
            if min(spent) > limit:
                self.effort *= share
                self.said.append(f"a slow rule, so {share:.2g} of the usual search")
                return

    def _read_precision(self) -> None:
        """A rule that computes in float32 inside rounds like float32, whatever it is given."""
        rows = self.points.uniform(256)
        precision = Precision()
        with precision:
            weights = self.probe(rows, self.dtype)[0]
        finite = weights[weights.isfinite()]
        if self.dtype is torch.float64 and (precision.single or bool((finite == finite.float().double()).all())):
            self.probe.rounding[torch.float64] = torch.float32
            for pairs in self.pairs:
                pairs.dtype = torch.float32
