"""The verdict in plain words: what was compared, what the intervals show, how many axioms stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from trivium.certification.specification import VERDICTS
from trivium.report.certificate import results
from trivium.report.folder import RunFolder
from trivium.report.numbers import counted, decimal, finite, interval, reading
from trivium.report.safety import SAID, percent
from trivium.report.section import PageSection


def headline(folder: RunFolder) -> PageSection:
    """Build the opening of the page. It always has something to say."""
    facts = [
        _compared(folder, "student"),
        _compared(folder, "mixture"),
        _safety(folder),
        _axioms(folder),
        _monitor(folder),
    ]
    data = {"facts": [fact for fact in facts if fact], "runs": [folder.label(run.name) for run in folder.runs]}
    return PageSection("verdict", "Verdict", "_headline.html", data)


def _difference(folder: RunFolder, what: str) -> Mapping[str, Any] | None:
    """Return a scheme against uniform weights; where a folder has other runs, the first difference it reports."""
    entries = [e for e in (folder.comparison or {}).get("differences") or [] if e.get("what") == what]
    known = next((e for e in entries if e.get("b") == "uniform"), None)
    return known or (entries[0] if entries else None)


def _compared(folder: RunFolder, what: str) -> dict[str, str] | None:
    entry = _difference(folder, what)
    if entry is None:
        return None
    unit = str((folder.comparison or {}).get("unit") or "bits per byte")
    a, b = (folder.label(str(entry.get(side))) for side in ("a", "b"))
    shown, size = reading(entry.get("interval")), abs(finite(entry.get("difference")) or 0.0)
    subject = "student" if what == "student" else "mixture of the teachers"
    words = {
        "lower": f"The {subject} does better with “{a}” than with “{b}”: {decimal(size)} {unit} less.",
        "higher": f"The {subject} does worse with “{a}” than with “{b}”: {decimal(size)} {unit} more.",
        "no difference shown": f"No difference between “{a}” and “{b}” is shown for the {subject}: "
        "the interval contains zero.",
        "no interval": f"The {subject} differs by {decimal(size)} {unit} between “{a}” and “{b}”, "
        "with no interval to judge that by.",
    }
    return {
        "tone": {"lower": "good", "higher": "bad"}.get(shown, "even"),
        "number": decimal(entry.get("difference"), sign=True),
        "below": interval(entry.get("interval"), sign=True),
        "caption": f"{what}: {a} − {b}, {unit}",
        "words": words[shown],
    }


def _safety(folder: RunFolder) -> dict[str, str] | None:
    if folder.safety is None:
        return None
    after = folder.safety["after"]
    tone, words = SAID[after["verdict"]]
    return {
        "tone": tone,
        "number": percent(after["student"]["estimate"]),
        "below": f"at most {percent(after['student']['upper'])}, {percent(after['limit'])} promised",
        "caption": "of its probability on what is forbidden",
        "words": words,
    }


def _axioms(folder: RunFolder) -> dict[str, str] | None:
    answers = results(folder.certificate)
    found = [entry for entry in answers if not str(entry.get("axiom")).startswith("constants.")]
    if not found:
        return None
    count = Counter(str(entry.get("verdict")) for entry in found)
    broken = [str(entry.get("axiom")) for entry in answers if entry.get("verdict") == "VIOLATED"]
    standing = len(found) - count["VIOLATED"]
    parts = [f"{count[word]} {word.lower()}" for word in VERDICTS if count[word]]
    if broken:
        verb = "is" if len(broken) == 1 else "are"
        words = f"{', '.join(broken)} {verb} violated; the certificate holds an input that shows it."
    elif count["NOT FALSIFIED"]:
        words = "No axiom is violated; those not falsified were searched and not proved."
    else:
        words = "Every axiom that was asked for holds."
    return {
        "tone": "bad" if broken else "good",
        "number": f"{standing} of {len(found)}",
        "below": ", ".join(parts),
        "caption": "axioms standing",
        "words": words,
    }


def _monitor(folder: RunFolder) -> dict[str, str] | None:
    if folder.main is None:
        return None
    seen = folder.main.violations
    steps = counted(folder.main.last_step, "step")
    if not seen:
        words = f"Over {steps} of training the monitor saw no violation."
    else:
        ids = ", ".join(sorted({str(record.get("axiom")) for record in seen}))
        words = f"Over {steps} of training the monitor saw {counted(len(seen), 'violation')} of {ids}."
    return {
        "tone": "bad" if seen else "good",
        "number": str(len(seen)),
        "below": f"in {steps}",
        "caption": "violations while training",
        "words": words,
    }
