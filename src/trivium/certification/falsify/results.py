"""From what a search found to findings: confirmed one row at a time, shrunk, and said in words."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trivium.axioms import FunctionOfItsRow
from trivium.certification.falsify.box import Box
from trivium.certification.falsify.clock import TimeUp
from trivium.certification.falsify.function import MANY, Changes, Found, differing, drop, from_graph
from trivium.certification.falsify.lipschitz import Pairs
from trivium.certification.falsify.objectives import Worst, WorstPoint
from trivium.certification.falsify.pareto import said_gram
from trivium.certification.falsify.probe import DTYPES, Probe
from trivium.certification.falsify.rounding import errors
from trivium.certification.falsify.search import Falsification
from trivium.certification.falsify.shrink import keeps, shrink
from trivium.certification.specification import Result, Specification, Witness
from trivium.weighting.program import Opaque, Program

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_CONFIRMATIONS = 3


class Results:
    """Turns one finished search into one finding for each axiom."""

    def __init__(self, search: Falsification, specification: Specification) -> None:
        self.search, self.specification = search, specification
        self.ground = search.ground
        self.probe, self.box = search.ground.probe, search.ground.box

    def all(self) -> dict[str, Result]:
        """Return a finding for each axiom asked, then for each kind of declared constant."""
        asked = list(self.specification.axioms)
        if self.search.constants is not None:
            asked += ["constants.influence", "constants.log_ratio", "constants.lipschitz"]
        found = {}
        for axiom in sorted(asked, key="W-F".__eq__):  # which takes long, where there is no graph
            every = [pairs for pairs in self.search.pairs if pairs.allowance.axiom == axiom]
            try:
                found[axiom] = self.function() if axiom == "W-F" else self.pointwise(axiom)
                for pairs in every:
                    result = self.lipschitz(pairs)
                    if pairs is every[0] or result.verdict == "VIOLATED":
                        found[axiom] = result
                    if result.verdict == "VIOLATED":
                        break
            except TimeUp:
                said = "no time was left to confirm what may be a breach"
                found[axiom] = Result(axiom, "NOT FALSIFIED", None, search=f"{self.search.told(axiom)}; {said}")
        return {axiom: found[axiom] for axiom in asked}

    def pointwise(self, axiom: str) -> Result:
        """W-N, W-P, W-B, W-S, W-C and declared influence and gaps."""
        if axiom == "W-N" and (raising := self._raising()) is not None:
            return raising
        sources = [(self.probe, self.ground.worst)]
        sources += [
            (Probe(self.probe.operator, box, self.probe.clock, leads=False), worst) for box, worst in self.search.others
        ]
        for probe, worst in sources:
            for candidate in _ranked(worst, axiom):
                if candidate.excess > 0 and (result := self._confirm(candidate, probe)) is not None:
                    return result
        for top in _ranked(self.ground.worst, axiom)[:1]:
            where = self._where(top.point, self.box, top.dtype)
            slack = max(0.0, top.residual - top.excess) if math.isfinite(top.excess) else 0.0
            return Result(axiom, "NOT FALSIFIED", top.residual, slack, where, search=self.search.told(axiom))
        return Result(axiom, "NOT FALSIFIED", None, search=self.search.told(axiom))

    def _confirm(self, candidate: WorstPoint, probe: Probe) -> Result | None:
        objective, box, dtype = candidate.objective, probe.box, candidate.dtype
        assert objective is not None
        seen: dict[str, Tensor] = {}
        must = [-math.inf]

        def breach(rows: Tensor) -> float:
            """Return the residual, −∞ where it is within rounding."""
            weights, log_weights = probe.alone(rows[0], dtype)
            point = box.cast(rows[:1], dtype).double()  # as the rule sees it, and as a witness keeps it
            rounded = probe.rounding.get(dtype, dtype)
            slack = objective.slack(point, log_weights.nan_to_num(nan=0.0), rounded)[0]
            residual = objective.value(point, weights, log_weights)[0]
            if bool(residual > slack) and float(residual) > must[0]:
                seen.update(weights=weights[0], slack=slack)
            return float(residual) if bool(residual > slack) else -math.inf

        with probe.clock.confirming():
            found = [breach(candidate.point[None]) for _ in range(_CONFIRMATIONS)]
        if min(found) == -math.inf:
            return None
        must[0] = keeps(found[0], float(seen["slack"]))
        rows, final = shrink(candidate.point[None], box, breach, must[0])
        final = found[0] if math.isnan(final) else final
        said = said_gram(box.gram(rows)[0]) if objective.axiom == "W-C" else ""
        note = self._sentence(candidate, seen["weights"], final, box) + said + self._in(dtype)
        where = self._where(rows[0], box, dtype)
        slack = max(0.0, float(seen["slack"]))
        return self._violated(objective.axiom, box, dtype, found[0], slack, where, rows, None, final, note)

    def lipschitz(self, pairs: Pairs) -> Result:
        """W-R or declared regularity, in the dtype of the pairs."""
        axiom, dtype = pairs.allowance.axiom, pairs.dtype
        slack, program = pairs.tolerance, self.probe.program(dtype)
        alone = [-math.inf]

        def residual(rows: Tensor) -> float:
            log_u, log_v = (self.probe.alone(row, dtype)[1] for row in rows)
            return float(pairs.residual(rows[:1], rows[1:], log_u, log_v)[0])

        for pair in pairs.kept:
            assert pair.other is not None
            rows = self.box.cast(torch.stack([pair.point, pair.other]), dtype).double()
            with self.probe.clock.confirming():
                seen = min(residual(rows) for _ in range(_CONFIRMATIONS))
                alone.append(seen)
                limit = max(slack, pair.residual - pair.excess if math.isfinite(pair.excess) else slack)
                if limit < seen < math.inf and isinstance(program, Program):  # no rounding makes ∞
                    limit = max(limit, float(errors(program, self.box, rows, dtype).sum()))
                if seen <= limit or self._shaky(rows, seen, dtype):
                    continue
            rows, final = shrink(rows, self.box, residual, keeps(seen, limit))
            rows, final = self.box.cast(rows, dtype).double(), seen if math.isnan(final) else final
            apart = self.box.distances(rows[:1], rows[1:])
            allowed = float(pairs.allowance(apart)[0])
            note = f"features {float(apart.max()):.6g} apart move the weights by {final + allowed:.6g} nats, "
            note += f"{allowed:.6g} are allowed{self._in(dtype)}"
            where = f"{self._where(rows[0], self.box, dtype)} against {self.box.describe(rows[1])}"
            return self._violated(axiom, self.box, dtype, pair.residual, limit, where, rows[:1], rows[1:], final, note)
        # Pairs are seen in batches; of a rule that looks across its batch only a row by itself says anything.
        worst = max(alone) if pairs.worst > slack else pairs.worst
        where = ""
        for pair in pairs.kept[:1]:
            assert pair.other is not None
            where = f"{self.box.describe(pair.point)} against {self.box.describe(pair.other)}"
        seen_worst = worst if math.isfinite(worst) else None
        return Result(axiom, "NOT FALSIFIED", seen_worst, slack, where, search=self.search.told(axiom))

    def _shaky(self, rows: Tensor, residual: float, dtype: torch.dtype) -> bool:
        """Return whether repeated calls alone explain the residual: then W-F is broken and this says nothing of W-R."""
        if self.probe.captured(dtype):
            return False
        logs = [torch.cat([self.probe.alone(row, dtype)[1] for row in rows]) for _ in range(4)]
        moved = max(float((log - logs[0]).abs().nan_to_num(nan=0.0).max()) for log in logs[1:])
        return moved * 4 > residual

    def function(self) -> Result:
        """W-F: of a graph there is nothing to search but whether the function as written is another one."""
        for dtype in (d for d in self.search.dtypes if d is not torch.bfloat16 and self.probe.captured(d)):
            found = differing(self.probe.operator, self.box, dtype)
            if found is not None:
                return self._as_written(*found, dtype)
        for coupling in self.search.couplings:
            ranked = coupling.ranked()
            for size, row, batch, other in ranked:
                try:
                    result = self._coupled((size, row, batch, other), coupling.changes, coupling.limit)
                except TimeUp:
                    break
                if result is not None:
                    return result
            for size, row, batch, other in ranked[:1]:
                note = f"row {row} had weights that differed by {size:.3g}, once in {self.probe.calls:,} calls"
                return self._other_weights(size, row, batch, other, coupling.limit, coupling.changes.dtype, note)
        worst = max((coupling.worst for coupling in self.search.couplings), default=0.0)
        limit = max((coupling.limit for coupling in self.search.couplings), default=0.0)
        program = self.probe.program(self.ground.dtype)
        where = f"opaque ({program}): batches compared" if isinstance(program, Opaque) else "a graph of one row"
        return Result("W-F", "NOT FALSIFIED", worst, limit, where, search=self.search.told("W-F"))

    def _as_written(self, batch: Tensor, row: int, line: int | None, dtype: torch.dtype) -> Result:
        limit = FunctionOfItsRow().tolerance(dtype, self.box.num_teachers)

        def moved(rows: Tensor, row: int) -> float:
            self.probe.clock.check()
            try:
                return float(from_graph(self.probe.operator, self.box, rows, dtype)[row])
            except Exception:  # a batch that it refuses shows nothing
                return 0.0

        row, batch = drop(row, batch, lambda rows, row: moved(rows, row) > limit)
        batch, _ = shrink(batch, self.box, lambda rows: moved(rows, row), limit, 120 if len(batch) <= MANY else 20)
        size = float(from_graph(self.probe.operator, self.box, batch, dtype)[row])
        place = f"line {line}: " if line is not None else ""
        note = f"{place}as written, on a batch of {len(batch)}, row {row} has weights {size:.3g} off its own by itself"
        return self._other_weights(size, row, batch, None, limit, dtype, note + self._in(dtype))

    def _coupled(self, found: Found, changes: Changes, limit: float) -> Result | None:
        """Return a change that shows again, in as few and as simple rows as it takes."""
        _, row, batch, other = found
        if len(batch) > MANY:
            row, batch = drop(row, batch, lambda rows, row: changes.beside(rows, row) > limit)
        change = changes.lasting(batch, other)
        row = row if float(change[row]) > limit else int(change.argmax())
        size = float(change[row])
        if size <= limit:
            return None
        # What a rule remembers from this search is not there in another process: such a batch stays as it is.
        if float(changes.of(batch[row : row + 1])[0]) > limit:
            note = f"row {row} has weights that change by {size:.3g} with the call or its shape"
            return self._other_weights(size, row, batch, other, limit, changes.dtype, note)
        must = keeps(size, limit)
        if other is not None and float(changes.lasting(batch)[row]) > must:
            other = None
        tries = 60 if len(batch) <= MANY else 10
        batch, again = shrink(batch, self.box, lambda rows: float(changes.lasting(rows, other)[row]), must, tries)
        size = size if math.isnan(again) else again
        note = f"row {row} has weights that change by {size:.3g} with the other rows of a batch of {len(batch)}"
        return self._other_weights(size, row, batch, other, limit, changes.dtype, note)

    def _other_weights(
        self, size: float, row: int, batch: Tensor, other: Tensor | None, limit: float, dtype: torch.dtype, note: str
    ) -> Result:
        where = f"row {row} of {len(batch)}: {self.box.describe(batch[row])}"
        return self._violated("W-F", self.box, dtype, size, limit, where, batch, other, size, note, row)

    def _raising(self) -> Result | None:
        """An input at which the rule raises is one at which it is not defined."""
        for point, message, dtype in self.probe.raised:

            def raises(rows: Tensor, dtype: torch.dtype = dtype) -> float:
                return 0.0 if self.probe.accepts(rows[0], dtype) else math.inf

            if dtype is self.ground.dtype and raises(point[None]) > 0:
                rows, _ = shrink(point[None], self.box, raises, 0.0, tries=120)
                where, note = (
                    self._where(rows[0], self.box, dtype),
                    f"the rule is not defined here, it raises {message}",
                )
                return self._violated("W-N", self.box, dtype, math.inf, 0.0, where, rows, None, math.inf, note)
        return None

    def _violated(
        self,
        axiom: str,
        box: Box,
        dtype: torch.dtype,
        residual: float,
        slack: float,
        where: str,
        rows: Tensor,
        other: Tensor | None,
        final: float,
        note: str,
        row: int = 0,
    ) -> Result:
        beside = None if other is None else box.nested(other, dtype)
        features, name = box.nested(rows, dtype), _NAMES[dtype]
        witness = Witness(axiom, features, beside, name, box.num_teachers, final, note, row, self.specification)
        return Result(axiom, "VIOLATED", residual, slack, where, search=self.search.told(axiom), witness=witness)

    def _sentence(self, candidate: WorstPoint, weights: Tensor, residual: float, box: Box) -> str:
        objective = candidate.objective
        assert objective is not None
        values = ", ".join(f"{value:.6g}" for value in weights.tolist())
        at = f" with {box.num_teachers} teachers" if box.num_teachers != self.specification.num_teachers else ""
        if not bool(weights.isfinite().all()):
            return f"the weights{at} are ({values}), not numbers"
        said = {
            "W-N": f"the weights{at} sum to {float(weights.sum()):.9g}",
            "W-P": f"the smallest weight is {float(weights.min()):.6g}",
            "W-C": f"to first order a teacher's loss rises by {residual:.6g}",
        }.get(objective.axiom, f"{objective.name} is missed by {residual:.6g}")
        return f"{said}: ({values})"

    def _in(self, dtype: torch.dtype) -> str:
        return "" if dtype is torch.float64 else f", in {_NAMES[dtype]}"

    def _where(self, point: Tensor, box: Box, dtype: torch.dtype) -> str:
        teachers = f", K = {box.num_teachers}" if box.num_teachers != self.specification.num_teachers else ""
        return box.describe(point) + teachers + self._in(dtype)


def _ranked(worst: Worst, axiom: str) -> list[WorstPoint]:
    """Candidates of an axiom, furthest beyond rounding first."""
    kept = [c for index, cs in worst.best.items() if worst.objectives[index].axiom == axiom for c in cs]
    return sorted(kept, key=lambda c: -c.excess)
