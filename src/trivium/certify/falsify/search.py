"""The search itself: what is tried, in which order, with how much effort."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from trivium.axioms import FunctionOfItsRow
from trivium.certify.falsify.ascent import ascend, climb
from trivium.certify.falsify.box import Box
from trivium.certify.falsify.function import Changes, Coupling
from trivium.certify.falsify.guide import Guide
from trivium.certify.falsify.literals import literals
from trivium.certify.falsify.objectives import Objective, Worst, objectives
from trivium.certify.falsify.points import Points
from trivium.certify.falsify.probe import Probe
from trivium.certify.falsify.regularity import Allowance, Pairs, climb_pairs, climb_slopes, noise, zoom
from trivium.certify.falsify.scan import lines, scan
from trivium.certify.falsify.trace import Precision, traced
from trivium.certify.question import Question
from trivium.simplex.constants import Constants
from trivium.simplex.rounding import log_slack
from trivium.weighting.base import Operator

#: Wall-clock seconds are a stop, not a measure: the search ends at this many times its nominal seconds.
HARD_STOP = 4.0
_NARROW = frozenset({"W-N", "W-P", "W-B"})
_STARTS = 24
_MOST_SCALE = 32.0
#: Microseconds a row above which a rule is called slow, and the share of the search that it gets.
_SLOW = ((60.0, 1 / 32), (6.0, 1 / 6))


class Search:
    """One search of one operator. After :meth:`run`, ``worst``, ``pairs`` and ``coupling`` hold what was found.

    The number of evaluations follows from ``seconds`` and the number of coordinates alone, so the verdict does not
    depend on the machine's load unless the hard stop is reached, which ``said`` then states.
    """

    def __init__(
        self, operator: Operator, question: Question, seconds: float, seed: int, constants: Constants | None
    ) -> None:
        self.operator, self.question, self.seed, self.constants = operator, question, seed, constants
        self.effort = min(20.0, max(0.05, seconds / 5))
        self.box = Box.of(operator, question.teachers)
        self.probe = Probe(operator, self.box, deadline=time.monotonic() + HARD_STOP * max(seconds, 0.5))
        self.points = Points(self.box, seed)
        size = torch.maximum(self.box.low.abs(), self.box.high.abs())[~self.box.integer]
        scale = min(_MOST_SCALE, float(size.max())) if len(size) else 0.0
        self.worst = Worst(objectives(question, constants, scale))
        self.others: list[tuple[Box, Worst]] = []
        self.said: list[str] = []
        self.dtype = self._main_dtype()
        allowances = [] if question.lipschitz is None else [Allowance("W-R", lipschitz=question.lipschitz)]
        if constants is not None:
            allowances.append(Allowance.declared(constants, self.box))
        self.pairs = [Pairs(allowance, self.box, self.dtype) for allowance in allowances]
        self.coupling: Coupling | None = None
        self.changes = Changes(self.probe, self.dtype)
        self.drift: tuple[float, int, Tensor] | None = None

    def run(self) -> None:
        """Search everything once."""
        self._pace()
        numbers = literals(self.operator)
        self.points.add_levels(numbers)
        pool = self.points.pool(self._count(8192))
        first = pool[:: max(1, len(pool) // 64)][:64]
        before = self.changes.call(first)
        weights, _ = self.see(pool)
        self._read_precision(weights)
        branches, pool = self._follow(pool)
        self._scan(pool)
        self._climb()
        self._regularity(pool)
        self._dtypes(pool)
        self._other_teachers()
        self._function(pool, first, before)
        self.said = [
            f"{self.probe.rows:,} rows in {self.probe.calls:,} calls",
            f"corners, ties, edges, {len(numbers)} numbers of the source, {branches} branch points bisected",
            *self.said,
            f"seed {self.seed}",
        ]
        if self.probe.late:
            self.said.append("stopped early at the time limit")

    def see(self, points: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        """Evaluate and observe."""
        asked = dtype or self.dtype
        weights, log_weights = self.probe(points, asked)
        self.worst.observe(points, weights, log_weights, asked, self.probe.rounding.get(asked, asked))
        return weights, log_weights

    def _count(self, number: int) -> int:
        return max(64, int(number * self.effort))

    def _pace(self) -> None:
        """A rule that loops over rows in Python is searched with fewer of them."""
        rows = self.points.uniform(512)
        spent = []
        for _ in range(3):
            start = time.perf_counter()
            self.changes.call(rows)
            spent.append(1e6 * (time.perf_counter() - start) / len(rows))
        for limit, share in _SLOW:
            if min(spent) > limit:
                self.effort *= share
                self.said.append(f"a slow rule, {min(spent):.0f} µs a row, so {share:.2g} of the usual search")
                return

    def _main_dtype(self) -> torch.dtype:
        center = self.box.snap((self.box.low + self.box.high) / 2)
        usable = [d for d in (torch.float64, torch.float32) if self.probe.accepts(center, d)]
        return usable[0] if usable else torch.float64

    def _read_precision(self, weights: Tensor) -> None:
        """A rule that computes in float32 inside rounds like float32, whatever it is given."""
        finite = weights[weights.isfinite()]
        precision = Precision()
        with precision:
            self.changes.call(self.points.uniform(8))
        single = precision.single or bool((finite == finite.float().double()).all())
        if self.dtype is torch.float64 and single:
            self.probe.rounding[torch.float64] = torch.float32
            self.worst.best.clear()
            for pairs in self.pairs:
                pairs.dtype = torch.float32

    def _other_teachers(self) -> None:
        """Is the rule defined for other numbers of teachers? One that is written for K alone raises, which is no breach."""
        tried = []
        for teachers in range(1, 17):
            if teachers == self.question.teachers or self.constants is not None:
                continue
            box = Box.of(self.operator, teachers)
            probe = Probe(self.operator, box, deadline=self.probe.deadline)
            points = Points(box, self.seed)
            rows = torch.cat([points.uniform(32), points.odd_one(32), points.tied(points.picks(32))])
            if not probe.accepts(rows[0], self.dtype):
                continue
            worst = Worst([o for o in self.worst.objectives if o.axiom == "W-N"])
            weights, log_weights = probe(rows, self.dtype)
            undefined = weights.isnan().any(dim=-1)
            worst.observe(rows[undefined], weights[undefined], log_weights[undefined], self.dtype, self.dtype)
            self.others.append((box, worst))
            self.probe.rows += probe.rows
            tried.append(teachers)
        if tried:
            self.said.append(f"defined also for K in {tried[0]}…{tried[-1]}")

    def _function(self, pool: Tensor, first: Tensor, before: Tensor | None) -> None:
        noisy = max((pairs.noise for pairs in self.pairs), default=0.0)
        limit = FunctionOfItsRow().tolerance(self.probe.rounding.get(self.dtype, self.dtype), self.box.teachers)
        limit = max(limit, 16 * noisy)
        defined = pool if before is None else pool[~self.probe(pool, self.dtype)[0].isnan().any(dim=-1)]
        self.coupling = Coupling(self.changes, defined[: self._count(12288)], limit, self.seed)
        if len(defined):
            self.coupling.run(rounds=max(1, int(2 * self.effort)))
        for _ in range(self._count(1000)):
            self.changes.call(first[:1])
        after = self.changes.call(first)
        if before is not None and after is not None:
            moved = (after - before).abs().amax(dim=-1).nan_to_num(nan=0.0)
            if float(moved.max()) > limit:
                self.drift = (float(moved.max()), int(moved.argmax()), first)
        if self.coupling.found or self.drift:
            for row in pool[:: max(1, len(pool) // 256)]:
                self.worst.observe(row[None], *self.probe.alone(row, self.dtype), self.dtype, self.dtype)
