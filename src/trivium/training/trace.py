"""The trace a run leaves: ``metrics.jsonl``, one JSON object a line, read by certificate and report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trivium.errors import InputError
from trivium.jsontext import json_text


class TraceWriter:
    """Appends lines; after a resume, lines beyond the checkpoint are cut so that every step stands once.

    Args:
        resumed_step: where the run goes on, or None to begin.
        join: append to what another process of the same run began.
    """

    def __init__(self, path: Path, resumed_step: int | None, join: bool = False) -> None:
        self.path = path
        if join:
            return
        kept = []
        if resumed_step is not None and path.exists():
            kept = [row for row in read_trace(path) if row["step"] <= resumed_step]
        partial = path.with_suffix(".partial")
        partial.write_text("".join(_line(row) for row in kept), encoding="utf-8")
        partial.replace(path)

    def write(self, kind: str, step: int, **values: Any) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line({"kind": kind, "step": step, **values}))


def read_trace(path: Path) -> list[dict[str, Any]]:
    """Return all lines; a last line cut off by a crash is left out.

    Raises:
        InputError: another line that is no JSON; going on would lose what follows it.
    """
    rows: list[dict[str, Any]] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise InputError(
                    f"{path} line {number} must be JSON", str(error), "Mend or remove the line."
                ) from error
    return rows


def _line(row: dict[str, Any]) -> str:
    return json_text(_rounded(row)) + "\n"


def _rounded(value: Any) -> Any:
    """Seven significant digits."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.7g}")
    return value
