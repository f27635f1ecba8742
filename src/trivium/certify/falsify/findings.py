"""From what a search found to findings: confirmed one row at a time, shrunk, and said in words."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trivium.certify.falsify.box import Box
from trivium.certify.falsify.function import MANY
from trivium.certify.falsify.objectives import Candidate, Objective, Worst
from trivium.certify.falsify.probe import DTYPES, Probe
from trivium.certify.falsify.regularity import Pairs
from trivium.certify.falsify.search import Search, tolerance
from trivium.certify.falsify.shrink import keeps, shrink
from trivium.certify.question import Finding, Question, Witness

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_CONFIRMATIONS = 3


class Findings:
    """Turns one finished search into one finding for each axiom."""

    def __init__(self, search: Search, question: Question) -> None:
        self.search, self.question = search, question
        self.probe, self.box = search.probe, search.box
        self.text = "; ".join(search.said)

    def all(self) -> dict[str, Finding]:
        """A finding for each axiom asked, then for each kind of declared constant."""
        asked = list(self.question.axioms)
        if self.search.constants is not None:
            asked += ["constants.influence", "constants.gap", "constants.regularity"]
        by_pairs = {pairs.allowance.axiom: pairs for pairs in self.search.pairs}
        found = {}
        for axiom in asked:
            if axiom == "W-F":
                found[axiom] = self.function()
            elif axiom in by_pairs:
                found[axiom] = self.regularity(by_pairs[axiom])
            else:
                found[axiom] = self.pointwise(axiom)
        return found

    def pointwise(self, axiom: str) -> Finding:
        """W-N, W-P, W-B, W-S and declared influence and gaps."""
        if axiom == "W-N" and (raising := self._raising()) is not None:
            return raising
        sources = [(self.box, self.probe, self.search.worst)]
        sources += [(box, Probe(self.probe.operator, box), worst) for box, worst in self.search.others]
        for box, probe, worst in sources:
            for candidate in _ranked(worst, axiom):
                if candidate.excess > 0 and (finding := self._confirm(candidate, box, probe)) is not None:
                    return finding
        best = _ranked(self.search.worst, axiom)
        if not best:
            return Finding(axiom, "NOT FALSIFIED", None, search=self.text)
        top = best[0]
        where = self._where(top.point, self.box, top.dtype)
        slack = max(0.0, top.residual - top.excess) if math.isfinite(top.excess) else 0.0
        return Finding(axiom, "NOT FALSIFIED", top.residual, slack, where, search=self.text)

    def _confirm(self, candidate: Candidate, box: Box, probe: Probe) -> Finding | None:
        objective = candidate.objective
        assert objective is not None
        dtype, rounded = candidate.dtype, probe.rounding.get(candidate.dtype, candidate.dtype)

        def alone(rows: Tensor) -> tuple[float, float, Tensor]:
            weights, log_weights = probe.alone(rows[0], dtype)
            slack = float(objective.slack(log_weights.nan_to_num(nan=0.0), rounded)[0])
            return float(objective.value(weights, log_weights)[0]), slack, weights

        seen = [alone(candidate.point[None]) for _ in range(_CONFIRMATIONS)]
        if any(residual <= slack for residual, slack, _ in seen):
            return None
        residual, slack, _ = seen[0]
        limit = keeps(residual, slack)

        def holds(rows: Tensor) -> bool:
            value, own, _ = alone(rows)
            return value > max(limit, own)

        rows = shrink(candidate.point[None], box, holds)
        final, slack, weights = alone(rows)
        features = box.nested(rows, dtype)
        note = self._sentence(objective, weights[0], final, box) + self._in(dtype)
        witness = Witness(objective.axiom, features, None, _NAMES[dtype], box.teachers, final, note, 0, self.question)
        where = self._where(rows[0], box, dtype)
        return Finding(objective.axiom, "VIOLATED", residual, max(0.0, slack), where, search=self.text, witness=witness)

    def regularity(self, pairs: Pairs) -> Finding:
        """W-R and declared regularity."""
        axiom, dtype = pairs.allowance.axiom, pairs.dtype if pairs.dtype is self.search.dtype else self.search.dtype
        slack = tolerance(pairs)
        for pair in pairs.kept:
            assert pair.other is not None
            limit = max(slack, pair.residual - pair.excess if math.isfinite(pair.excess) else slack)

            def residual(rows: Tensor) -> float:
                log_u, log_v = (self.probe.alone(row, dtype)[1] for row in rows)
                return float(pairs.residual(rows[:1], rows[1:], log_u, log_v)[0])

            rows = torch.stack([pair.point, pair.other])
            seen = [residual(rows) for _ in range(_CONFIRMATIONS)]
            if min(seen) <= limit or self._shaky(rows, min(seen)):
                continue
            must = keeps(min(seen), limit)
            rows = shrink(rows, self.box, lambda r, must=must: residual(r) > must)  # type: ignore[misc]
            final = residual(rows)
            apart = self.box.distances(rows[:1], rows[1:])
            allowed = float(pairs.allowance(apart)[0])
            note = (
                f"features {float(apart.max()):.6g} apart move the weights by {final + allowed:.6g} nats, "
                f"{allowed:.6g} are allowed"
            )
            features, other = (self.box.nested(row[None], dtype) for row in rows)
            witness = Witness(axiom, features, other, _NAMES[dtype], self.box.teachers, final, note, 0, self.question)
            where = f"{self._where(rows[0], self.box, dtype)} against {self.box.describe(rows[1])}"
            return Finding(axiom, "VIOLATED", pair.residual, limit, where, search=self.text, witness=witness)
        worst = pairs.worst if math.isfinite(pairs.worst) else None
        where = ""
        if pairs.kept:
            pair = pairs.kept[0]
            assert pair.other is not None
            where = f"{self.box.describe(pair.point)} against {self.box.describe(pair.other)}"
        return Finding(axiom, "NOT FALSIFIED", worst, slack, where, search=self.text)

    def _shaky(self, rows: Tensor, residual: float) -> bool:
        """Whether repeated calls alone explain the residual: then W-F is broken and this says nothing of W-R."""
        logs = [torch.cat([self.probe.alone(row, self.search.dtype)[1] for row in rows]) for _ in range(4)]
        moved = max(float((log - logs[0]).abs().nan_to_num(nan=0.0).max()) for log in logs[1:])
        return moved * 4 > residual

    def function(self) -> Finding:
        """W-F."""
        coupling, changes = self.search.coupling, self.search.changes
        assert coupling is not None
        limit, dtype = coupling.limit, changes.dtype
        small = coupling.smallest()
        if small is None and self.search.drift is None:
            worst = coupling.worst if coupling.worst <= limit else limit
            return Finding("W-F", "NOT FALSIFIED", worst, limit, "every batch compared", search=self.text)
        if small is None:
            assert self.search.drift is not None
            size, row, batch = self.search.drift
            batch, other = batch[row : row + 1], None
            row = 0
            note = f"the same call gives weights that differ by {size:.3g} after {self.probe.calls:,} calls"
        else:
            size, row, batch, other = small
            limit_kept = keeps(size, limit)

            def holds(rows: Tensor) -> bool:
                return float(changes.of(rows, other)[row]) > limit_kept

            # What a rule remembers from this search is not there in another process: such a batch stays as it is.
            repeated = float(changes.of(batch[row : row + 1])[0]) > limit
            if not repeated:
                if other is not None and float(changes.of(batch)[row]) > limit_kept:
                    other = None
                batch = shrink(batch, self.box, holds, tries=80 if len(batch) <= MANY else 10)
                size = float(changes.of(batch, other)[row])
            cause = "the call or the shape of the batch" if repeated else f"the other rows of a batch of {len(batch)}"
            note = f"row {row} has weights that change by {size:.3g} with {cause}"
        features = self.box.nested(batch, dtype)
        if not self.box.ranges:
            features = {}
        witness = Witness(
            "W-F",
            features,
            None if other is None else self.box.nested(other, dtype),
            _NAMES[dtype],
            self.box.teachers,
            size,
            note,
            row,
            self.question,
        )
        where = f"row {row} of {len(batch)}: {self.box.describe(batch[row])}"
        return Finding("W-F", "VIOLATED", size, limit, where, search=self.text, witness=witness)

    def _raising(self) -> Finding | None:
        """An input at which the rule raises is one at which it is not defined."""
        for point, message, dtype in self.probe.raised:
            if dtype is not self.search.dtype:
                continue

            def holds(rows: Tensor) -> bool:
                return not self.probe.accepts(rows[0], dtype)  # noqa: B023

            if not holds(point[None]):
                continue
            rows = shrink(point[None], self.box, holds, tries=120)
            witness = Witness(
                "W-N",
                self.box.nested(rows, dtype),
                None,
                _NAMES[dtype],
                self.box.teachers,
                math.inf,
                f"the rule is not defined here, it raises {message}",
                0,
                self.question,
            )
            where = self._where(rows[0], self.box, dtype)
            return Finding("W-N", "VIOLATED", math.inf, 0.0, where, search=self.text, witness=witness)
        return None

    def _sentence(self, objective: Objective, weights: Tensor, residual: float, box: Box) -> str:
        values = ", ".join(f"{value:.6g}" for value in weights.tolist())
        at = f" with {box.teachers} teachers" if box.teachers != self.question.teachers else ""
        if not bool(weights.isfinite().all()):
            return f"the weights{at} are ({values}), not numbers"
        said = {
            "W-N": f"the weights{at} sum to {float(weights.sum()):.9g}",
            "W-P": f"the smallest weight is {float(weights.min()):.6g}",
        }.get(objective.axiom, f"{objective.name} is missed by {residual:.6g}")
        return f"{said}: ({values})"

    def _in(self, dtype: torch.dtype) -> str:
        return "" if dtype is torch.float64 else f", in {_NAMES[dtype]}"

    def _where(self, point: Tensor, box: Box, dtype: torch.dtype) -> str:
        teachers = f", K = {box.teachers}" if box.teachers != self.question.teachers else ""
        return box.describe(point) + teachers + self._in(dtype)


def _ranked(worst: Worst, axiom: str) -> list[Candidate]:
    """Candidates of an axiom, furthest beyond rounding first."""
    kept = [c for index, cs in worst.best.items() if worst.objectives[index].axiom == axiom for c in cs]
    return sorted(kept, key=lambda c: -c.excess)
