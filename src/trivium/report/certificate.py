"""What a certificate says about each axiom, as rows of a table, and the formula it is about."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from trivium.axioms import AXIOMS
from trivium.certification.certificate import digest_of
from trivium.certification.specification import VERDICTS
from trivium.report.folder import RunFolder
from trivium.report.numbers import NOTHING, decimal, finite
from trivium.report.section import PageSection
from trivium.scheme.words import least

#: A shape beside each word, so that no verdict is told by colour alone.
_SIGNS: Final = {"PROVED": "■", "VERIFIED": "●", "NOT FALSIFIED": "○", "VIOLATED": "✕"}

MEANINGS: Final = {
    "PROVED": "follows from the form of the rule or from declared constants of the parts; the derivation is in the row",
    "VERIFIED": "bounded exhaustively on the stated box of features",
    "NOT FALSIFIED": "no breach found in the stated search, which is weaker than a proof",
    "VIOLATED": "a breach was found; the certificate holds an input that reproduces it",
}


def results(certificate: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """Return the answers of a certificate, one an axiom."""
    return [
        found
        for found in (certificate or {}).get("results") or (certificate or {}).get("findings") or []
        if isinstance(found, Mapping)
    ]


def axioms(folder: RunFolder) -> PageSection:
    """Build the axiom table from certificate.json."""
    if folder.certificate is None:
        sentence = f"certificate.json {folder.faults['certificate.json']}, so no axiom was checked for this page."
        return PageSection("axioms", "Axioms", "_axioms.html", missing=sentence)
    rows = [_row(found) for found in results(folder.certificate)]
    asked = {row["axiom"] for row in rows}
    data = {
        "rows": rows,
        "words": [{"verdict": word, "meaning": MEANINGS[word], **_badge(word)} for word in VERDICTS],
        "constants": _constants(folder.certificate),
        "derivation": [str(step) for step in folder.certificate.get("derivation") or []],
        "edited": folder.certificate.get("digest") not in (None, digest_of(dict(folder.certificate))),
        "not_asked": [f"{axiom.id} ({axiom.name})" for axiom in AXIOMS.values() if axiom.id not in asked],
    }
    return PageSection("axioms", "Axioms", "_axioms.html", data)


def _row(found: Mapping[str, Any]) -> dict[str, Any]:
    verdict, axiom = str(found.get("verdict")), str(found.get("axiom"))
    witness = found.get("witness")
    return {
        "axiom": axiom,
        "states": _statement(axiom),
        "formula": AXIOMS[axiom].statement if axiom in AXIOMS else "",
        "verdict": verdict,
        "residual": decimal(found.get("residual"), sign=True),
        "tolerance": decimal(found.get("tolerance")) if found.get("tolerance") else "",
        "where": str(found.get("where") or NOTHING),
        "derivation": [str(step) for step in found.get("derivation") or []],
        "search": str(found.get("search") or ""),
        "witness": str(witness.get("note") or "stored in certificate.json") if isinstance(witness, Mapping) else "",
        **_badge(verdict),
    }


def _statement(axiom: str) -> str:
    if axiom.startswith("constants."):
        return f"the rule's declared {axiom.removeprefix('constants.')} holds"
    return AXIOMS[axiom].name if axiom in AXIOMS else NOTHING


def _constants(certificate: Mapping[str, Any]) -> list[str]:
    """Return the derived bounds that say something, in words. The last decimal is rounded to the safe side, but for
    what outward rounding of the bound itself added."""
    known = dict(certificate.get("constants") or {})
    if isinstance(known.get("lipschitz"), Mapping):  # of schema 3: a constant a feature; before, their sum
        known["lipschitz"] = known.get("total_lipschitz")
    worded = {
        "influence": "influence at most {} nats",
        "floor": "every weight at least {}",
        "cap": "at most {}",
        "lipschitz": "Lipschitz constant {} in the sup metric over all features",
    }
    shown = []
    for name, words in worded.items():
        bound = finite(known.get(name))
        if bound is not None:
            if name == "floor":
                shown.append(words.format(least(bound)))
            else:
                shown.append(words.format(decimal(math.ceil(1000 * bound - 1e-6) / 1000)))
    return shown


def _badge(verdict: str) -> dict[str, str]:
    return {"sign": _SIGNS.get(verdict, "?"), "style": verdict.lower().replace(" ", "-")}


def formula(folder: RunFolder) -> PageSection:
    """Return the scheme, one line a scale and the whole, as ``str(scheme)`` prints it."""
    found = folder.certificate or {}
    text = str(found.get("description") or found.get("formula") or "")
    if not text:
        fault = folder.faults.get("certificate.json", "has no formula")
        sentence = f"certificate.json {fault}, so the formula is not known here; the recipe below names the rules."
        return PageSection("formula", "The scheme", "_formula.html", missing=sentence)
    lines = []
    for line in text.splitlines():
        head, colon, tail = line.strip().partition(": ")
        split = bool(colon) and head.strip() in ("teachers", "token", "task", "context")
        lines.append({"head": head.strip() if split else "", "text": tail.strip() if split else line.strip()})
    shown = [entry for entry in lines if entry["head"] != "teachers"]
    return PageSection("formula", "The scheme", "_formula.html", {"lines": shown, "teachers": folder.teacher_names})
