"""One search: its passes in order, each of which may be cut short by the clock."""

from __future__ import annotations

from collections.abc import Callable

import torch

from trivium.axioms import FunctionOfItsRow
from trivium.certification.falsify import passes
from trivium.certification.falsify.box import Box
from trivium.certification.falsify.clock import TimeUp
from trivium.certification.falsify.function import Changes, Coupling
from trivium.certification.falsify.ground import Ground
from trivium.certification.falsify.lipschitz import Pairs
from trivium.certification.falsify.objectives import Worst
from trivium.certification.falsify.sites import numbers
from trivium.certification.specification import Specification
from trivium.simplex.constants import Constants
from trivium.weighting.base import Operator
from trivium.weighting.program import Program

#: A change of a weight that is never laid to how a batch is rounded.
_NOISY = 1e-4
#: More calls of the same rows at the end.
_CALLS = 1000
#: Numbers a row above which lines along every coordinate and slopes in all of them are out of reach.
WIDE = 512
#: Multiples of the seconds after which points, batches and the work on findings end: of a captured operator, whose
#: search follows from counts and mostly takes a third of them, and of an opaque one, which may never come back.
_CAPTURED, _OPAQUE = (1.5, 1.6, 1.9), (0.5, 0.7, 1.0)


class Falsification:
    """One search of one operator; after :meth:`run` its attributes hold what was found.

    The number of evaluations follows from ``seconds``, the number of coordinates and, in coarse steps, from what a row
    costs; so the verdict does not depend on the machine's load unless the time is up, which is said.

    Attributes:
        ground: with the worst points and pairs.
        pairs: of every dtype.
        others: for each other number of teachers, its box and the worst points there.
        couplings: of each dtype in which the operator is opaque, batches in which some row changes.
        left: the passes that were cut short or left out.
    """

    def __init__(
        self, operator: Operator, specification: Specification, seconds: float, seed: int, constants: Constants | None
    ) -> None:
        self.operator, self.specification, self.seed, self.constants = operator, specification, seed, constants
        self.seconds, self.left = seconds, list[str]()
        self.others: list[tuple[Box, Worst]] = []
        self.couplings: list[Coupling] = []
        self.ground = Ground.of(operator, specification, seconds, seed, constants)
        self.pairs: list[Pairs] = list(self.ground.pairs)
        self.dtypes = [self.ground.dtype]
        self.pool = self.ground.points.uniform(0)

    def run(self, other_teachers: bool) -> None:
        """Search everything once."""
        ground = self.ground
        wide = ground.box.dimension > WIDE
        captured = ground.probe.captured(ground.dtype)
        lines = ("lines", not wide, lambda: passes.scan_lines(ground, self.pool))
        # What breaks everywhere is found however little time there is.
        if captured:
            with ground.probe.clock.confirming():
                ground.see(ground.points.uniform(16))
        self._until(0)
        steps: list[tuple[str, bool, Callable[[], None]]] = [
            ("points", True, self._points),
            ("branches", captured, self._branches),
            *([lines] if captured else []),
            ("ascent", True, lambda: passes.climb_all(ground)),
            ("slopes", not wide, lambda: passes.slopes(ground, self.pool)),
            ("float32", ground.dtype is not torch.float32, self._single),
            ("bfloat16", True, self._half),
            ("other K", other_teachers, self._other_teachers),
            *([] if captured else [lines]),
        ]
        for name, wanted, step in steps:
            if wanted:
                self._try(name, step)
        if wide:
            ground.say("width", f"{ground.box.dimension} numbers a row: no lines, no slopes")
        self._until(1)
        for dtype in (d for d in self.dtypes if d is not torch.bfloat16 and not ground.probe.captured(d)):
            self._try(f"batches in {_name(dtype)}", lambda dtype=dtype: self._batches(dtype))  # type: ignore[misc]
        self._until(2)

    def told(self, axiom: str) -> str:
        """Return what was searched for one axiom, in words."""
        ground = self.ground
        if axiom in ("W-R", "constants.lipschitz"):
            asked = [d for d in self.dtypes if any(pairs.dtype is d for pairs in self.pairs)]
        else:
            asked = [d for d in self.dtypes if d is not torch.bfloat16 or axiom in passes.NARROW]
        said = [f"{ground.probe.rows:,} rows in {ground.probe.calls:,} calls", *ground.told.values()]
        said += [", ".join(map(_name, asked)), f"seed {self.seed}"]
        if self.left:
            said.append(f"stopped early at the time limit: {', '.join(self.left)} cut short or left out")
        return "; ".join(said)

    def _until(self, phase: int) -> None:
        clock = self.ground.probe.clock
        clock.limit = self.seconds * (_OPAQUE if clock.waits else _CAPTURED)[phase]

    def _try(self, name: str, step: Callable[[], None]) -> None:
        try:
            step()
        except TimeUp:
            self.left.append(name)

    def _points(self) -> None:
        ground = self.ground
        program = ground.probe.program(ground.dtype)
        written = numbers(program) if isinstance(program, Program) else []
        ground.points.add_levels(written)
        ground.probe.read_precision(ground.points.uniform(256), ground.dtype)
        self.pool = ground.points.pool(ground.count(8192))
        ground.see(self.pool)
        ground.say("points", f"corners, ties, edges, {len(written)} numbers of the graph")
        passes.read_rounding(ground, self.pool)

    def _branches(self) -> None:
        self.pool = passes.follow(self.ground, self.pool)

    def _single(self) -> None:
        if self.ground.probe.accepts(self.ground.box.center, torch.float32):
            self.dtypes.append(torch.float32)
            narrow = self.ground.narrowed(torch.float32, 0.5)
            self.pairs += narrow.pairs
            passes.in_float32(self.ground, narrow, self.pool)

    def _half(self) -> None:
        if self.ground.probe.accepts(self.ground.box.center, torch.bfloat16):
            self.dtypes.append(torch.bfloat16)
            passes.half(self.ground, self.pool)

    def _other_teachers(self) -> None:
        passes.other_teachers(self.ground, self.seed, self.others)

    def _batches(self, dtype: torch.dtype) -> None:
        ground = self.ground
        noisy = max((pairs.noise for pairs in self.pairs if pairs.dtype is dtype), default=0.0)
        rounded = ground.probe.rounding.get(dtype, dtype)
        limit = max(FunctionOfItsRow().tolerance(rounded, ground.box.num_teachers), min(_NOISY, noisy))
        pool = self.pool[: ground.count(4096)] if len(self.pool) else ground.points.uniform(64)
        coupling = Coupling(Changes(ground.probe, dtype), pool, limit, self.seed)
        self.couplings.append(coupling)
        weights = ground.probe(pool, dtype)[0]
        coupling.pool = pool[~weights.isnan().any(dim=-1)]
        if len(coupling.pool):
            coupling.run(max(1, int(2 * ground.effort)), ground.count(_CALLS))
        if coupling.found:
            # A batch says nothing of a rule that looks across it, so the other axioms are asked row by row.
            rows = self.pool[:: max(1, len(self.pool) // 256)]
            alone = [ground.probe.alone(row, dtype) for row in rows]
            weights, logs = torch.cat([w for w, _ in alone]), torch.cat([log_w for _, log_w in alone])
            ground.worst.observe(rows, weights, logs, dtype, rounded)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
