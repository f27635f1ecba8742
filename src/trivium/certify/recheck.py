"""Checking a certificate again: nobody edited it, and deriving and searching anew give no other answer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from trivium.certify.assemble import certify
from trivium.certify.calculus import known
from trivium.certify.certificate import Certificate, digest_of
from trivium.certify.falsify import replay
from trivium.certify.question import VERDICTS, Finding, Witness
from trivium.certify.run import TRACE, read_run
from trivium.weighting.base import Operator

#: Another processor or thread count may round differently; a breach as recorded is far larger.
RELATIVE = 1e-3


def agrees(witness: Witness, residual: float) -> bool:
    """Whether a witness breaks its axiom as it is recorded, up to rounding.

    How far a rule moves that draws random numbers differs from call to call; of W-F that it moves is the breach.
    """
    same = residual == witness.residual or math.isclose(residual, witness.residual, rel_tol=RELATIVE)
    return witness.breaks(residual) and (same or witness.axiom == "W-F")


def edited(data: dict[str, Any]) -> list[str]:
    """Why the file is not as it was written: empty when its digest fits."""
    recorded, now = data.get("digest"), digest_of(data)
    if recorded is None:
        return ["the certificate has no digest"]
    return [] if recorded == now else [f"the certificate was edited: digest {now[:12]}, not {str(recorded)[:12]}"]


def trace_changed(certificate: Certificate) -> list[str]:
    """Why the run section is no longer that of the run folder; a folder that is gone cannot be compared."""
    run = certificate.run
    if run is None or not Path(run.folder, TRACE).is_file():
        return []
    return [] if read_run(run.folder) == run else [f"{run.folder}/{TRACE} is not the trace that was certified"]


def recheck(certificate: Certificate, operator: Operator, seconds: float | None = None) -> list[str]:
    """Every way in which the operator is not what the certificate says, as one line each.

    The box, the derivation and the constants must be the same; a finding may come out with the same word or a
    stronger one, and each witness must still break its axiom. Cost: one search.
    """
    given = certificate.search
    budget = given["seconds"] if seconds is None else seconds
    again = certify(operator, certificate.question, seconds=budget, seed=int(given["seed"]), source=certificate.source)
    reasons = [
        f"{name} is not as certified"
        for name in ("formula", "description", "box", "per_entry", "constants", "derivation")
        if getattr(again, name) != getattr(certificate, name)
    ]
    now = {finding.axiom: finding for finding in again.findings}
    for finding in certificate.findings:
        reasons += _weaker(finding, now.get(finding.axiom), operator)
    unknown = [axiom for axiom in now if axiom not in {finding.axiom for finding in certificate.findings}]
    reasons += [f"{axiom} is {now[axiom].verdict} now and missing from the certificate" for axiom in unknown]
    return reasons


def _weaker(recorded: Finding, now: Finding | None, operator: Operator) -> list[str]:
    if recorded.witness is not None:
        witness = recorded.witness
        residual = replay(operator, witness, known(operator, witness.teachers))
        if not witness.breaks(residual):
            return [f"{recorded.axiom}: the witness breaks nothing (residual {residual:.3g})"]
        if not agrees(witness, residual):
            said = f"{witness.residual:.6g} recorded, {residual:.6g} now"
            return [f"{recorded.axiom}: the residual of the witness is not as certified: {said}"]
        return []
    if recorded.verdict == "VIOLATED":
        return [f"{recorded.axiom}: violated, but without a witness"]
    if now is None:
        return [f"{recorded.axiom}: not among the axioms asked"]
    if VERDICTS.index(now.verdict) > VERDICTS.index(recorded.verdict):
        return [f"{recorded.axiom}: the certificate says {recorded.verdict}, checked again it is {now.verdict}"]
    if recorded.verdict == now.verdict == "PROVED":
        for name in ("residual", "tolerance", "where", "derivation"):
            if getattr(recorded, name) != getattr(now, name):
                return [f"{recorded.axiom}: its {name} is not as derived again"]
    return []
