"""Accuracy and nats of a run on labelled examples: student, mixture and teachers, by domain and by task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trivium.report.folder import RunFolder
from trivium.report.numbers import decimal, percent
from trivium.report.section import PageSection


def accuracy(folder: RunFolder) -> PageSection | None:
    """Build the section from accuracy.json; None for a run on text, which has no such file."""
    found = folder.accuracy
    if found is None:
        return None
    groups = [("domains", str(name)) for name in found.get("domains") or []]
    tasks = [str(name) for name in found.get("tasks") or []]
    # One domain a task: the same numbers twice say nothing.
    if len(tasks) > 1 and tasks != [name for _, name in groups]:
        groups += [("tasks", name) for name in tasks]
    data = {
        "columns": ["all examples", *(name if kind == "domains" else f"task {name}" for kind, name in groups)],
        "rows": [_row(row, groups) for row in found.get("rows") or []],
        "examples": sum(int(count) for count in (found.get("domains") or {}).values()),
    }
    return PageSection("accuracy", "Accuracy", "_accuracy.html", data)


def _row(row: Mapping[str, Any], groups: list[tuple[str, str]]) -> dict[str, Any]:
    cells = [row, *((row.get(kind) or {}).get(name) or {} for kind, name in groups)]
    what, name = str(row.get("what")), str(row.get("name"))
    return {
        "name": name if what == "teacher" else what,
        "teacher": what == "teacher",
        "cells": [{"accuracy": percent(cell.get("accuracy")), "nats": decimal(cell.get("nats"))} for cell in cells],
    }
