"""What every pass of a search shares: the operator under evaluation, its points, what was seen, and how much to do."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trivium.certification.falsify.box import Box
from trivium.certification.falsify.clock import Clock, TimeUp
from trivium.certification.falsify.lipschitz import Allowance, Pairs
from trivium.certification.falsify.objectives import Worst, objectives
from trivium.certification.falsify.points import Points
from trivium.certification.falsify.probe import Probe
from trivium.certification.specification import Specification
from trivium.simplex.constants import Constants
from trivium.weighting.base import Operator

_MOST_SCALE = 32.0
#: Numbers a row up to which a search takes its full number of rows.
_WIDTH = 128
#: Rows that a search evaluates at effort 1, about, and the part of its seconds that they may take.
_ROWS, _CAPTURED, _OPAQUE = 1.5e6, 0.7, 0.3


@dataclass
class Ground:
    """The state of one search.

    Attributes:
        probe: evaluates the operator.
        points: where points come from.
        worst: the worst points of every pointwise objective.
        pairs: the worst pairs of W-R and of declared regularity, in ``dtype``.
        dtype: float64, or float32 for an operator that cannot be evaluated in float64.
        effort: 1 for five nominal seconds; every count is proportional to it.
        told: what was searched, in words, by pass.
        sides: pairs of neighbours on two sides of a branch, if any was met.
    """

    probe: Probe
    points: Points
    worst: Worst
    pairs: list[Pairs]
    dtype: torch.dtype
    effort: float
    told: dict[str, str] = field(default_factory=dict)
    sides: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(
        cls, operator: Operator, specification: Specification, seconds: float, seed: int, constants: Constants | None
    ) -> Ground:
        """Before anything was evaluated but the center of the box and, for its pace, some random rows."""
        box = Box.of(operator, specification.num_teachers)
        probe = Probe(operator, box)
        if probe.captured(torch.float64):
            probe.captured(torch.float32), probe.captured(torch.bfloat16)
            _warm(probe, box)
        probe.clock = Clock(waits=probe.clock.waits)
        usable = [d for d in (torch.float64, torch.float32) if probe.accepts(box.center, d)]
        probe.clock.limit = seconds
        dtype = usable[0] if usable else torch.float64
        size = torch.maximum(box.low.abs(), box.high.abs())[~box.integer]
        scale = min(_MOST_SCALE, float(size.max())) if len(size) else 0.0
        allowances = [] if specification.lipschitz is None else [Allowance("W-R", lipschitz=specification.lipschitz)]
        if constants is not None:
            allowances.append(Allowance.declared(constants, box))
        pairs = [Pairs(allowance, box, dtype) for allowance in allowances]
        worst = Worst(objectives(specification, constants, scale, box))
        ground = cls(probe, Points(box, seed), worst, pairs, dtype, min(20.0, max(0.02, seconds / 5)))
        if box.dimension > _WIDTH:
            ground.effort *= _WIDTH / box.dimension
        ground._pace(seconds)
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
        weights, logs = [], []
        for some, w, log_w in self.probe.parts(points, asked):
            self.worst.observe(some, w, log_w, asked, self.probe.rounding.get(asked, asked))
            weights.append(w)
            logs.append(log_w)
        return torch.cat(weights), torch.cat(logs)

    def count(self, number: int) -> int:
        """Return a number of rows at effort 1, for this search."""
        return max(64, int(number * self.effort))

    def steps(self, number: int) -> int:
        """Return a number of generations at effort 1, for this search; fewer generations are missed more than fewer
        rows."""
        return max(3, int(number * self.effort**0.5))

    def shuffled(self, pool: Tensor) -> Tensor:
        """Return the rows of a pool in random order."""
        return pool[torch.randperm(len(pool), generator=self.points.generator)]

    def say(self, about: str, words: str) -> None:
        """Note what was searched, once for each thing and dtype."""
        self.told[f"{about} {self.dtype}"] = words + ("" if self.dtype is torch.float64 else " in float32")

    def narrowed(self, dtype: torch.dtype, share: float) -> Ground:
        """Return the same search in another dtype, with a share of the effort."""
        pairs = [Pairs(pairs.allowance, self.box, dtype) for pairs in self.pairs]
        return dataclasses.replace(self, pairs=pairs, dtype=dtype, effort=self.effort * share, sides=None)

    def _pace(self, seconds: float) -> None:
        """A rule whose rows cost much is searched with fewer of them, in steps of two, so that load changes little."""
        rows, cost = 1, 0.0
        while rows <= 512:
            start = self.probe.clock.seconds()
            try:
                self.probe(self.points.uniform(rows), self.dtype)
            except TimeUp:
                break
            cost = (self.probe.clock.seconds() - start) / rows
            if cost * rows > seconds / 50:
                break
            rows *= 8
        share, most = 1.0, (_OPAQUE if self.probe.clock.waits else _CAPTURED) * seconds
        while share > 1e-4 and share * self.effort * _ROWS * cost > most:
            share /= 2
        if share < 1:
            self.effort *= share
            self.say("pace", f"a slow rule, so {share:.2g} of the usual search")


def _warm(probe: Probe, box: Box) -> None:
    """The first calls of a process load kernels, which takes longer than a short search may."""
    point = box.center[None].clone().requires_grad_(box.dimension > 0)
    with contextlib.suppress(Exception):  # what a rule raises is found by the search
        log_w = probe.call(point)[1]
        if log_w.requires_grad:
            torch.autograd.grad(log_w.sum(), point, allow_unused=True)
