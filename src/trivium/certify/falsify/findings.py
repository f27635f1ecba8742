"""From what a search found to findings: confirmed one row at a time, shrunk, and said in words."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trivium.certify.falsify.box import Box
from trivium.certify.falsify.function import MANY
from trivium.certify.falsify.objectives import Candidate, Objective, Worst
from trivium.certify.falsify.pareto import said_gram
from trivium.certify.falsify.probe import DTYPES, Probe
from trivium.certify.falsify.regularity import Pairs
from trivium.certify.falsify.search import Search
from trivium.certify.falsify.shrink import keeps, shrink
from trivium.certify.question import Finding, Question, Witness

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_CONFIRMATIONS = 3


class Findings:
    """Turns one finished search into one finding for each axiom."""

    def __init__(self, search: Search, question: Question) -> None:
        self.search, self.question = search, question
        self.ground = search.ground
        self.probe, self.box = search.ground.probe, search.ground.box
        self.text = "; ".join(search.ground.said)

    def all(self) -> dict[str, Finding]:
        """A finding for each axiom asked, then for each kind of declared constant."""
        asked = list(self.question.axioms)
        if self.search.constants is not None:
            asked += ["constants.influence", "constants.gap", "constants.regularity"]
        by_pairs = {pairs.allowance.axiom: pairs for pairs in self.ground.pairs}
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
        """W-N, W-P, W-B, W-S, W-C and declared influence and gaps."""
        if axiom == "W-N" and (raising := self._raising()) is not None:
            return raising
        sources = [(self.box, self.probe, self.ground.worst)]
        sources += [(box, Probe(self.probe.operator, box), worst) for box, worst in self.search.others]
        for box, probe, worst in sources:
            for candidate in _ranked(worst, axiom):
                if candidate.excess > 0 and (finding := self._confirm(candidate, box, probe)) is not None:
                    return finding
        best = _ranked(self.ground.worst, axiom)
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
            seen = rows[:1].to(dtype).double()  # as the rule sees it, and as a witness keeps it
            slack = float(objective.slack(seen, log_weights.nan_to_num(nan=0.0), rounded)[0])
            return float(objective.value(seen, weights, log_weights)[0]), slack, weights

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
        said = said_gram(box.gram(rows)[0]) if objective.axiom == "W-C" else ""
        note = self._sentence(objective, weights[0], final, box) + said + self._in(dtype)
        witness = Witness(objective.axiom, features, None, _NAMES[dtype], box.teachers, final, note, 0, self.question)
        where = self._where(rows[0], box, dtype)
        return Finding(objective.axiom, "VIOLATED", residual, max(0.0, slack), where, search=self.text, witness=witness)

    def regularity(self, pairs: Pairs) -> Finding:
        """W-R and declared regularity."""
        axiom, dtype = pairs.allowance.axiom, self.ground.dtype
        slack = pairs.tolerance
        alone = [-math.inf]
        for pair in pairs.kept:
            assert pair.other is not None
            limit = max(slack, pair.residual - pair.excess if math.isfinite(pair.excess) else slack)

            def residual(rows: Tensor) -> float:
                log_u, log_v = (self.probe.alone(row, dtype)[1] for row in rows)
                return float(pairs.residual(rows[:1], rows[1:], log_u, log_v)[0])

            rows = torch.stack([pair.point, pair.other])
            seen = [residual(rows) for _ in range(_CONFIRMATIONS)]
            alone.append(min(seen))
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
        # Pairs are seen in batches; of a rule that looks across its batch only a row by itself says anything.
        worst: float | None = max(alone) if pairs.worst > slack else pairs.worst
        worst = worst if worst is not None and math.isfinite(worst) else None
        where = ""
        if pairs.kept:
            pair = pairs.kept[0]
            assert pair.other is not None
            where = f"{self.box.describe(pair.point)} against {self.box.describe(pair.other)}"
        return Finding(axiom, "NOT FALSIFIED", worst, slack, where, search=self.text)

    def _shaky(self, rows: Tensor, residual: float) -> bool:
        """Whether repeated calls alone explain the residual: then W-F is broken and this says nothing of W-R."""
        logs = [torch.cat([self.probe.alone(row, self.ground.dtype)[1] for row in rows]) for _ in range(4)]
        moved = max(float((log - logs[0]).abs().nan_to_num(nan=0.0).max()) for log in logs[1:])
        return moved * 4 > residual

    def function(self) -> Finding:
        """W-F."""
        coupling, changes, drift = self.search.coupling, self.search.changes, self.search.drift
        limit, dtype = coupling.limit, changes.dtype
        small = coupling.smallest()
        if small is not None:
            size, row, batch, other, note = self._smaller(*small, limit)
        elif coupling.found:
            size, row, batch, other = min(coupling.found, key=lambda f: (len(f[2]), -f[0]))
            note = f"row {row} had weights that differed by {size:.3g}, once in {self.probe.calls:,} calls"
        elif drift is not None:
            size, row, batch, other = *drift, None
            note = f"the same call gives weights that differ by {size:.3g} after {self.probe.calls:,} calls"
        elif self.search.first is not None:
            size, row, batch, other = self.search.first
            note = f"row {row} has weights that differ by {size:.3g} if the first calls are on other rows"
        else:
            return Finding("W-F", "NOT FALSIFIED", coupling.worst, limit, "every batch compared", search=self.text)
        behind = None if other is None else self.box.nested(other, dtype)
        features = self.box.nested(batch, dtype)
        name, teachers = _NAMES[dtype], self.box.teachers
        witness = Witness("W-F", features, behind, name, teachers, size, note, row, self.question)
        where = f"row {row} of {len(batch)}: {self.box.describe(batch[row])}"
        return Finding("W-F", "VIOLATED", size, limit, where, search=self.text, witness=witness)

    def _smaller(
        self, size: float, row: int, batch: Tensor, other: Tensor | None, limit: float
    ) -> tuple[float, int, Tensor, Tensor | None, str]:
        changes, must = self.search.changes, keeps(size, limit)
        # What a rule remembers from this search is not there in another process: such a batch stays as it is.
        if float(changes.of(batch[row : row + 1])[0]) > limit:
            note = f"row {row} has weights that change by {size:.3g} with the call or its shape"
            return size, row, batch, other, note
        if other is not None and float(changes.lasting(batch)[row]) > must:
            other = None
        tries = 60 if len(batch) <= MANY else 10
        simple = shrink(batch, self.box, lambda rows: float(changes.lasting(rows, other)[row]) > must, tries)
        again = float(changes.lasting(simple, other)[row])
        size, batch = (again, simple) if again > limit else (size, batch)
        note = f"row {row} has weights that change by {size:.3g} with the other rows of a batch of {len(batch)}"
        return size, row, batch, other, note

    def _raising(self) -> Finding | None:
        """An input at which the rule raises is one at which it is not defined."""
        for point, message, dtype in self.probe.raised:
            if dtype is not self.ground.dtype:
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
            "W-C": f"to first order a teacher's loss rises by {residual:.6g}",
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
