"""Every axiom asked of an entry: the cells of its row."""

from __future__ import annotations

from typing import Any, NamedTuple

from trivium.catalogue.entry import Entry
from trivium.certification import certify
from trivium.certification.certificate import Certificate
from trivium.certification.question import Finding, Witness
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
        """Plain JSON values."""
        witness = None if self.witness is None else self.witness.to_json()
        return {"verdict": self.verdict, "note": self.note, "witness": witness}


def cells(entry: Entry, seconds: float = SECONDS) -> dict[str, Cell]:
    """The cells of one entry by axiom id. Cost: a search of about ``seconds``."""
    certificate = certify(entry.operator, entry.question, seconds=seconds)
    asked = entry.question.axioms
    return {f.axiom: _cell(f, certificate) for f in certificate.findings if f.axiom in asked}


def _cell(finding: Finding, certificate: Certificate) -> Cell:
    if finding.witness is not None:
        return Cell(finding.verdict, finding.witness.note, finding.witness)
    return Cell(finding.verdict, _bound(finding, certificate), None)


def _bound(finding: Finding, certificate: Certificate) -> str:
    known = certificate.constants
    if finding.verdict != "PROVED" or known is None:
        return finding.search
    if finding.axiom == "W-P":
        return f"w ≥ {least(known.floor)}"
    if finding.axiom == "W-B":
        return f"β ≤ {most(known.influence)} nats"
    if finding.axiom == "W-R":
        return f"L ≤ {most(known.lipschitz)}"
    return ""
