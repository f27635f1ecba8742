"""The run section: what the monitor saw in training, read from the trace that the run left."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from trivium.certification.certificate import Breach, Certificate, ObservedRun
from trivium.certification.safety import read_safety
from trivium.errors import InputError
from trivium.store.code import sha256_of

TRACE = "metrics.jsonl"


def add_run(certificate: Certificate, run: ObservedRun | str | Path) -> Certificate:
    """Return the certificate of a training run, given by its folder: that of its scheme, with what the monitor saw.

    Raises:
        InputError: as :func:`read_run`.
    """
    section = run if isinstance(run, ObservedRun) else read_run(run)
    return certificate.model_copy(update={"kind": "run", "run": section})


def read_run(folder: str | Path) -> ObservedRun:
    """Return the worst residual of each axiom over all steps, and what was done about violations.

    Raises:
        InputError: no trace in the folder, a line that is no JSON object (a last line cut off by a crash is left
            out), or no step in it.
    """
    path = Path(folder, TRACE)
    if not path.is_file():
        raise InputError(f"a run folder must hold {TRACE}", repr(str(folder)), "Give the folder that training wrote.")
    steps, worst, breaches = [], dict[str, float](), dict[tuple[str, str], list[float]]()
    monitored = 0
    for row in _rows(path):
        if row.get("kind") == "step":
            steps.append(int(row["step"]))
            residuals = row.get("axioms") or {}
            monitored += bool(residuals)
            for axiom, residual in residuals.items():
                worst[axiom] = max(worst.get(axiom, -math.inf), _number(residual))
        elif row.get("kind") == "violation":
            axiom, residual = str(row["axiom"]), _number(row["residual"])
            breaches.setdefault((axiom, str(row["action"])), []).append(residual)
            worst[axiom] = max(worst.get(axiom, -math.inf), residual)
    if not steps:
        raise InputError(f"{path} must hold at least one step", "none", "Train first.")
    return ObservedRun(
        folder=str(folder),
        steps=max(steps),
        monitored=monitored,
        worst=worst,
        violations=tuple(
            Breach(axiom=axiom, action=action, count=len(seen), worst=max(seen))
            for (axiom, action), seen in sorted(breaches.items())
        ),
        trace_sha256=sha256_of(path),
        safety=read_safety(folder),
    )


def _number(residual: float | None) -> float:
    """The trace writes null for what is not finite."""
    return math.inf if residual is None or math.isnan(residual) else float(residual)


def _rows(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            if number == len(lines):
                break
            raise InputError(
                f"line {number} of {path} must be JSON", repr(line[:40]), "The trace is damaged."
            ) from None
    return rows
