"""Every axiom asked of an entry: the cells of its row."""

from __future__ import annotations

from typing import Any, NamedTuple

from trivium.catalogue.entry import Entry
from trivium.certification import certify
from trivium.certification.certificate import Certificate
from trivium.certification.specification import Result, Witness
from trivium.scheme.words import least, most

SECONDS = 2.0


class Cell(NamedTuple):
    """One axiom of one entry.

    Attributes:
        verdict: PROVED, VERIFIED, NOT FALSIFIED or VIOLATED.
        note: the bound that is kept, or what the witness shows.
        witness: what :func:`trivium.certification.falsify.replay` evaluates again, given exactly when violated.
    """

    verdict: str
    note: str
    witness: Witness | None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        witness = None if self.witness is None else self.witness.to_json()
        return {"verdict": self.verdict, "note": self.note, "witness": witness}


def cells(entry: Entry, seconds: float = SECONDS) -> dict[str, Cell]:
    """Return the cells of one entry by axiom id. Cost: a search of about ``seconds``."""
    certificate = certify(entry.operator, entry.specification, seconds=seconds)
    asked = entry.specification.axioms
    return {f.axiom: _cell(f, certificate) for f in certificate.results if f.axiom in asked}


def _cell(result: Result, certificate: Certificate) -> Cell:
    if result.witness is not None:
        return Cell(result.verdict, result.witness.note, result.witness)
    return Cell(result.verdict, _bound(result, certificate), None)


def _bound(result: Result, certificate: Certificate) -> str:
    known = certificate.constants
    if result.verdict != "PROVED" or known is None:
        return result.search
    if result.axiom == "W-P":
        return f"w ≥ {least(known.floor)}"
    if result.axiom == "W-B":
        return f"β ≤ {most(known.influence)} nats"
    if result.axiom == "W-R":
        return f"L ≤ {most(known.total_lipschitz)}"
    return ""
