"""The comparison: mixture and student side by side, and which differences the intervals show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trivium.report.folder import RunFolder
from trivium.report.numbers import bounds, decimal, finite, interval, reading
from trivium.report.section import PageSection

#: What a row measures: the weighted teachers as a predictor, and who learned from them.
WHATS = ("mixture", "student")

_WORDS = {"lower": "{a} is better", "higher": "{b} is better"}


def comparison(folder: RunFolder) -> PageSection:
    """Build the section from comparison.json."""
    found = folder.comparison
    if found is None:
        sentence = f"comparison.json {folder.faults['comparison.json']}, so no runs are compared here."
        return PageSection("comparison", "Comparison", "_comparison.html", missing=sentence)
    data = {
        "unit": found.get("unit", "bits per byte"),
        "domains": [str(domain) for domain in found.get("domains") or []],
        "groups": groups(found),
        "rows": side_by_side(found),
        "differences": differences(folder, found),
        "note": found.get("note") or "",
    }
    return PageSection("comparison", "Comparison", "_comparison.html", data)


def groups(found: Mapping[str, Any]) -> list[str]:
    """Return which of mixture and student the file has rows for."""
    present = {str(row.get("what")) for row in found.get("rows") or []}
    return [what for what in WHATS if what in present]


def side_by_side(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row a run, in the file's order, with one cell for each of :func:`groups`. A cell is None where the run
    has no such row."""
    domains = [str(domain) for domain in found.get("domains") or []]
    runs: dict[str, dict[str, Any]] = {}
    for row in found.get("rows") or []:
        name = str(row.get("name"))
        run = runs.setdefault(name, {"name": name, "label": str(row.get("label") or name), "cells": {}})
        values = row.get("bits_per_byte") or row.get("nats") or {}
        run["cells"][str(row.get("what"))] = {
            "domains": [decimal(values.get(domain)) for domain in domains],
            "mean": decimal(row.get("mean")),
            "interval": interval(row.get("interval")),
        }
    return [{**run, "cells": [run["cells"].get(what) for what in groups(found)]} for run in runs.values()]


def differences(folder: RunFolder, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every difference with its interval, what it shows, and where to draw it on one common axis."""
    entries = list(found.get("differences") or [])
    ends = [number for entry in entries for number in _numbers(entry)]
    reach = 1.08 * max((abs(end) for end in ends), default=0.0) or 1.0
    rows = []
    for entry in entries:
        a, b = folder.label(str(entry.get("a"))), folder.label(str(entry.get("b")))
        shown = reading(entry.get("interval"))
        known, middle = bounds(entry.get("interval")), finite(entry.get("difference"))
        rows.append({
            "what": str(entry.get("what")), "a": a, "b": b, "reading": shown,
            "words": _WORDS.get(shown, shown).format(a=a, b=b),
            "difference": decimal(entry.get("difference"), sign=True),
            "interval": interval(entry.get("interval"), sign=True),
            "bar": None if known is None else [_percent(end, reach) for end in known],
            "point": None if middle is None else _percent(middle, reach),
        })  # fmt: skip
    return rows


def _numbers(entry: Mapping[str, Any]) -> Sequence[float]:
    middle = finite(entry.get("difference"))
    return [*(bounds(entry.get("interval")) or ()), *([] if middle is None else [middle])]


def _percent(value: float, reach: float) -> float:
    """Position on an axis from −reach to reach, in percent."""
    return round(50.0 + 50.0 * value / reach, 2)
