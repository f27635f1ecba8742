"""The run section: worst residuals over all steps, from the trace alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from trivium.certification import add_run, as_markdown, certify, claims
from trivium.certification.recheck import Rechecked, trace_changed
from trivium.certification.run import read_run
from trivium.errors import InputError
from trivium.weighting import Margin


def trace(folder: Path, *rows: dict[str, Any] | str) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "metrics.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def step(number: int, **axioms: float | None) -> dict[str, Any]:
    residuals = {name.replace("_", "-"): value for name, value in axioms.items()}
    return {"kind": "step", "step": number, "loss": 1.0, "axioms": residuals}


def test_the_worst_residual_of_each_axiom_and_every_action_are_kept(tmp_path: Path) -> None:
    breach = {"kind": "violation", "axiom": "W-B", "action": "repaired"}
    folder = trace(
        tmp_path,
        step(5, W_N=1e-8, W_P=-0.1),
        {"kind": "eval", "step": 5, "mean": 2.0},
        {**breach, "step": 7, "residual": 1e-3},
        {**breach, "step": 9, "residual": 5e-3},
        step(10, W_N=-1e-9, W_P=-0.02),
        {"kind": "step", "step": 12, "loss": 1.0},
    )
    run = read_run(folder)
    assert (run.steps, run.monitored) == (12, 2)
    assert run.worst == {"W-N": 1e-8, "W-P": -0.02, "W-B": 5e-3}
    assert [(b.axiom, b.action, b.count, b.worst) for b in run.violations] == [("W-B", "repaired", 2, 5e-3)]


def test_a_residual_that_is_no_number_is_the_worst_there_is(tmp_path: Path) -> None:
    assert read_run(trace(tmp_path, step(1, W_N=0.0), step(2, W_N=None), step(3, W_N=0.0))).worst["W-N"] == math.inf


def test_a_last_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    assert read_run(trace(tmp_path, step(1), '{"kind": "st')).steps == 1


def test_a_damaged_trace_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2"):
        read_run(trace(tmp_path, step(1), '{"kind": "st', step(3)))


def test_a_folder_without_steps_or_trace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metrics\.jsonl"):
        read_run(tmp_path)
    with pytest.raises(InputError, match="at least one step"):
        read_run(trace(tmp_path, {"kind": "eval", "step": 1}))


def test_a_certificate_of_a_run_says_what_its_monitor_saw(tmp_path: Path) -> None:
    breach = {"kind": "violation", "step": 2, "axiom": "W-S", "residual": 0.2, "action": "recorded"}
    folder = trace(tmp_path, step(1, W_N=1e-8), breach, step(3, W_N=0.0))
    certificate = add_run(certify(Margin(), claims(Margin(), 2), seconds=0.1), folder)
    assert certificate.kind == "run"
    page = as_markdown(certificate)
    assert "over 3 training steps" in page
    assert "W-S, recorded once, worst 0.2" in page
    assert trace_changed(certificate) == Rechecked(())
    moved = tmp_path.parent / f"{tmp_path.name} moved"
    folder.rename(moved)
    assert "is not here" in trace_changed(certificate).left[0]
    assert trace_changed(certificate, moved) == Rechecked(())
    trace(moved, step(1, W_N=0.0))
    assert "not the trace" in trace_changed(certificate, moved).refusals[0]
