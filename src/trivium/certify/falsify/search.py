"""One search: its passes in order, and the part of it that is about calls and not about points."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trivium.axioms import FunctionOfItsRow
from trivium.certify.falsify import means, passes
from trivium.certify.falsify.box import Box
from trivium.certify.falsify.function import Changes, Coupling
from trivium.certify.falsify.ground import Ground
from trivium.certify.falsify.literals import literals
from trivium.certify.falsify.memory import Memory, first_calls
from trivium.certify.falsify.objectives import Worst
from trivium.certify.question import Question
from trivium.simplex.constants import Constants
from trivium.weighting.base import Operator

#: More calls of the same rows at the end.
_CALLS = 1000
#: Numbers a row above which lines along every coordinate and slopes in all of them are out of reach.
WIDE = 512


class Search:
    """One search of one operator; after :meth:`run` its attributes hold what was found.

    The number of evaluations follows from ``seconds``, the number of coordinates and, in three coarse steps, from what
    a row costs; so the verdict does not depend on the machine's load unless the hard stop is reached, which is said.

    Attributes:
        ground: with the worst points and pairs.
        others: for each other number of teachers, its box and the worst points there.
        coupling: batches in which some row changes.
        first: (size, row, batch, other) where the first calls, on other, decide the weights of batch.
        drift: (size, row, batch) where the same call gave other weights at the end than at the start.
    """

    def __init__(
        self, operator: Operator, question: Question, seconds: float, seed: int, constants: Constants | None
    ) -> None:
        self.operator, self.question, self.seed, self.constants = operator, question, seed, constants
        self.ground = Ground.of(operator, question, seconds, seed, constants)
        self.changes = Changes(self.ground.probe, self.ground.dtype)
        self.others: list[tuple[Box, Worst]] = []
        self.coupling = Coupling(self.changes, self.ground.points.uniform(1), 0.0, seed)
        self.drift: tuple[float, int, Tensor] | None = None
        self.first: tuple[float, int, Tensor, Tensor] | None = None

    def run(self, other_teachers: bool) -> None:
        """Search everything once."""
        ground = self.ground
        numbers = literals(self.operator)
        ground.points.add_levels(numbers)
        pool = ground.points.pool(ground.count(8192))
        first = pool[:: max(1, len(pool) // 64)][:64]
        before = self.changes.call(first)
        ground.see(pool)
        ground.said.append(f"corners, ties, edges, {len(numbers)} numbers of the source")
        pool = passes.follow(ground, pool)
        if ground.box.dimension <= WIDE:
            passes.scan_lines(ground, pool)
        passes.climb_all(ground)
        if ground.box.dimension <= WIDE:
            passes.slopes(ground, pool)
        else:
            ground.said.append(f"{ground.box.dimension} numbers a row: no lines, no slopes")
        passes.other_dtypes(ground, pool)
        if other_teachers:
            self.others = passes.other_teachers(ground, self.seed)
        self._function(pool, first, before, numbers)
        ground.said.insert(0, f"{ground.probe.rows:,} rows in {ground.probe.calls:,} calls")
        ground.said.append(f"seed {self.seed}")
        if ground.probe.stopped:
            ground.said.append("stopped early at the time limit")

    def ask_from_the_start(self, memory: Memory) -> None:
        """Whether the first calls decide about later ones: a batch as the first call, and after calls on others."""
        if memory.empty:
            return
        box, dtype = self.ground.box, self.ground.dtype
        batches = [box.low[None], box.high[None], box.center[None], self.ground.points.uniform(3)]
        batches.append(torch.cat([box.low[None], box.high[None]]))
        for batch in batches:
            for before in batches:
                moved = first_calls(self.changes.call, memory, batch, before)
                worst = float(moved.max())
                if worst > FunctionOfItsRow().tolerance(self.ground.rounding, box.teachers) and (
                    self.first is None or worst > self.first[0]
                ):
                    self.first = (worst, int(moved.argmax()), batch.clone(), before.clone())
        self.ground.said.append(f"first calls from a fresh state, {dtype}".replace("torch.", ""))

    def _function(self, pool: Tensor, first: Tensor, before: Tensor | None, numbers: Sequence[float]) -> None:
        ground = self.ground
        noisy = max((pairs.noise for pairs in ground.pairs), default=0.0)
        limit = max(FunctionOfItsRow().tolerance(ground.rounding, ground.box.teachers), 16 * noisy)
        defined = pool[~ground.probe(pool, ground.dtype)[0].isnan().any(dim=-1)]
        self.coupling = Coupling(self.changes, defined[: ground.count(12288)], limit, self.seed)
        if len(defined):
            self.coupling.run(rounds=max(1, int(2 * ground.effort)))
            for batch in means.batches(numbers, ground.box, defined[:64]):
                self.coupling.compare(batch)
        self.coupling.repeat(first[:2], ground.count(_CALLS))
        after = self.changes.call(first)
        if before is not None and after is not None:
            moved = (after - before).abs().amax(dim=-1).nan_to_num(nan=0.0)
            if float(moved.max()) > limit:
                self.drift = (float(moved.max()), int(moved.argmax()), first)
        if self.coupling.found or self.drift:
            # A batch says nothing of a rule that looks across it, so the other axioms are asked row by row.
            alone = [ground.probe.alone(row, ground.dtype) for row in pool[:: max(1, len(pool) // 256)]]
            weights, log_weights = torch.cat([w for w, _ in alone]), torch.cat([log_w for _, log_w in alone])
            rows = pool[:: max(1, len(pool) // 256)]
            ground.worst.observe(rows, weights, log_weights, ground.dtype, ground.rounding)
