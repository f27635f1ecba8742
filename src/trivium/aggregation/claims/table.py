"""The form of a table of claims: rows of operators, columns of axioms, and no empty cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from trivium.axioms.transform import TransformAxiom
from trivium.errors import InputError, nearest

Domain = Literal["all", "shared", "positive"]

#: Where a claim holds.
DOMAINS: dict[Domain, str] = {
    "all": "",
    "shared": "where the teachers share an entry",
    "positive": "where all p(i) > 0",
}


@dataclass(frozen=True)
class PoolWitness:
    """Teachers and weights that break an axiom, in plain numbers.

    Attributes:
        p: K rows of V probabilities.
        w: K weights, or for an entrywise pool V rows of them.
        change: what the axiom varies: a temperature, the teacher and amount, ``moved_p`` and ``moved_w``.
    """

    p: Sequence[Sequence[float]]
    w: Sequence[Any]
    change: Mapping[str, Any]

    def residual(self, axiom: TransformAxiom, operator: Any) -> float:
        """Return the axiom's residual on these numbers, in float64."""
        changed = dict(self.change)
        if "moved_w" in changed:
            moved = changed.pop("moved_p", self.p)
            changed |= {"moved_log_p": [_log(row) for row in moved], "moved_log_w": _log(changed.pop("moved_w"))}
        return float(axiom.residual(operator.pool, [_log(row) for row in self.p], _log(self.w), **changed))


@dataclass(frozen=True)
class SofteningWitness:
    """A distribution and a parameter that break an axiom, in plain numbers."""

    p: Sequence[float]
    parameter: float
    change: Mapping[str, float]

    def residual(self, axiom: TransformAxiom, operator: Any) -> float:
        """Return the axiom's residual on these numbers, in float64."""
        return float(axiom.residual(operator.soften, _log(self.p), self.parameter, **self.change))


@dataclass(frozen=True)
class Holds:
    """A claim: why the axiom holds, and where."""

    reason: str
    domain: Domain = "all"

    def __str__(self) -> str:
        where = DOMAINS[self.domain]
        return f"holds {where}: {self.reason}" if where else f"holds: {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"verdict": "HOLDS", "note": self.reason, "domain": DOMAINS[self.domain], "witness": None}


@dataclass(frozen=True)
class Broken:
    """A refutation: what happens, and the numbers it happens with."""

    note: str
    witness: PoolWitness | SofteningWitness

    def __str__(self) -> str:
        return f"broken: {self.note}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"verdict": "BROKEN", "note": self.note, "domain": "", "witness": asdict(self.witness)}


Cell = Holds | Broken


@dataclass(frozen=True)
class Claims:
    """A row: one operator, or a family of them that share all cells.

    Attributes:
        name, formula, cost, source: what a table prints.
        operators: the members that tests attack, and that each witness must break.
        axioms: the axioms by id, with the constants (moduli) that the operator declares; one mapping an operator.
        cells: a cell for each id.
    """

    name: str
    formula: str
    cost: str
    source: str
    operators: Sequence[Any]
    axioms: Sequence[Mapping[str, TransformAxiom]]
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class ClaimsTable:
    """Rows of claims under the statements of the axioms, in the order of both."""

    title: str
    statements: Mapping[str, str]
    rows: Sequence[Claims]

    def row(self, name: str) -> Claims:
        """Return the row of that name.

        Raises:
            InputError: no such row.
        """
        for row in self.rows:
            if row.name == name:
                return row
        names = [row.name for row in self.rows]
        raise InputError("an operator of the table must exist", repr(name), nearest(name, names))

    def to_json(self) -> list[dict[str, Any]]:
        """Return the rows as plain JSON values: name, formula, cost, source, and ``cells`` by axiom id.

        A cell has the verdict HOLDS or BROKEN, a note (the reason, or what the witness shows), the domain of a claim
        in words (empty: everywhere), and the numbers of a witness (null for a claim).
        """
        return [
            {
                "name": row.name,
                "formula": row.formula,
                "cost": row.cost,
                "source": row.source,
                "cells": {axiom: row.cells[axiom].to_json() for axiom in self.statements},
            }
            for row in self.rows
        ]


def _log(values: Sequence[Any]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).log()
