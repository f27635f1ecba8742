"""A run's metrics.jsonl as time series short enough to draw."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trivium.report.numbers import finite, rounded

Record = Mapping[str, Any]
Pick = Literal["mean", "max"]

#: Points a curve: more than a screen's pixels for a small chart buys nothing.
_POINTS = 320


@dataclass(frozen=True)
class RunTrace:
    """What one run wrote while it trained, in the order of its steps.

    Attributes:
        name: the run's folder.
        steps, evals: one record a step; of a step that was run twice (a resumed run) the later one.
        violations: every one, also of steps that were run twice.
        skipped: lines that are not JSON objects, as the last one of a killed run may be.
    """

    name: str
    steps: tuple[Record, ...]
    evals: tuple[Record, ...]
    violations: tuple[Record, ...]
    skipped: int = 0

    @property
    def last_step(self) -> int:
        return max((int(record["step"]) for record in (*self.steps, *self.evals)), default=0)


def read_trace(path: Path, name: str) -> RunTrace:
    """Read a metrics.jsonl. Cost O(lines).

    Raises:
        OSError: the file cannot be opened.
    """
    kinds: dict[str, list[Record]] = {"step": [], "eval": [], "violation": []}
    skipped = 0
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not line.strip():
                continue
            record = _record(line)
            if record is None:
                skipped += 1
            elif record.get("kind") in kinds:
                kinds[record["kind"]].append(record)
    return RunTrace(name, _once(kinds["step"]), _once(kinds["eval"]), tuple(kinds["violation"]), skipped)


def _record(line: str) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    known = isinstance(record, dict) and (record.get("kind") is None or finite(record.get("step")) is not None)
    return record if known else None


def _once(records: Iterable[Record]) -> tuple[Record, ...]:
    latest = {int(record["step"]): record for record in records}
    return tuple(latest[step] for step in sorted(latest))


def value_at(record: Record, keys: Sequence[str]) -> float | None:
    """Return the finite number under nested keys, or None."""
    found: Any = record
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return finite(found)


def series(records: Sequence[Record], *keys: str, pick: Pick = "mean") -> tuple[list[int], list[float | None]]:
    """Steps and values, at most some hundreds: neighbours are merged into their mean, or into their largest where
    the worst is what matters. A stretch without a finite value stays a gap; a series without any is empty."""
    values = [value_at(record, keys) for record in records]
    if all(value is None for value in values):
        return [], []
    width = -(-len(records) // _POINTS)
    x, y = [], []
    for start in range(0, len(records), width):
        known = [value for value in values[start : start + width] if value is not None]
        merged = None if not known else max(known) if pick == "max" else sum(known) / len(known)
        x.append(int(records[min(start + width, len(records)) - 1]["step"]))
        y.append(rounded(merged))
    return x, y


def keys_of(records: Iterable[Record], *keys: str) -> list[str]:
    """Return every key of the mappings under nested keys, in order of appearance."""
    seen: dict[str, None] = {}
    for record in records:
        found: Any = record
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, Mapping):
            seen.update(dict.fromkeys(map(str, found)))
    return list(seen)
