"""Show what the student must not do, on one screen, for readers who are not engineers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trivium.report.folder import RunFolder
from trivium.report.section import PageSection

#: What each verdict says, with the tone in which it is said.
SAID = {
    "kept": ("good", "The promise is kept."),
    "broken": ("bad", "The promise is broken."),
    "not shown": ("bad", "The promise is not shown to be kept."),
}
_ENFORCED = {
    "none": "Nothing enforced the limit: it was measured alone.",
    "constraint": "A penalty on the student, raised as long as it exceeded the limit, enforced it.",
    "target": "Every target that exceeded the limit was replaced by the nearest one that does not.",
}


def percent(value: float) -> str:
    """Return a share of one, to three digits.

    >>> percent(0.00123), percent(1.0)
    ('0.123 %', '100 %')
    """
    return f"{100 * value:.3g} %"


def safety(folder: RunFolder) -> PageSection | None:
    """Build the section; None for a run that declared nothing."""
    found = folder.safety
    if found is None:
        return None
    after, before = found["after"], found["before"]
    tone, words = SAID[after["verdict"]]
    rows = [_row("the student", after["student"], after["limit"])]
    named = {"target": "its target", "bound": "the most that its distance to the target allows (S3)",
             "uniform": "uniform weights (S1)", "largest": "the worst weights that were allowed (S2)"}  # fmt: skip
    rows += [_row(text, after[name], None) for name, text in named.items() if name in after]
    rows += [_row(f"teacher {name}", value, None) for name, value in after["teachers"].items()]
    data = {
        "tone": tone,
        "words": words,
        "forbidden": found["forbidden"],
        "critical": "; ".join(f"{name} {value}" for name, value in found["critical"].items()),
        "trust": found["trust"],
        "order_fails": percent(after["order_fails"]) if found["trust"] else None,
        "enforced": _ENFORCED[found["enforce"]],
        "limit": percent(after["limit"]),
        "level": percent(after["level"]),
        "documents": after["documents"],
        "positions": after["positions"],
        "rows": rows,
        "domains": [_row(name, value["student"], after["limit"]) for name, value in after["domains"].items()],
        "answers": after["answers"],
        "share": percent(after["answers"]["estimate"]),
        "most": percent(after["answers"]["upper"]),
        "contradictions": before.get("contradictions") or [],
        "utility": [
            {"where": where, **{name: f"{value:.4g}" for name, value in values.items()}}
            for where, values in found["utility"].items()
            if where != "unit"
        ],
        "unit": found["utility"].get("unit", ""),
    }
    return PageSection("safety", "What it must not do", "_safety.html", data)


def _row(name: str, found: Mapping[str, Any], limit: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "estimate": percent(found["estimate"]),
        "interval": f"{percent(found['low'])} … {percent(found['high'])}",
        "upper": percent(found["upper"]),
        "broken": limit is not None and found["upper"] > limit,
    }
