"""The example of classification as a user runs it: proved, trained, reported, and not run twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "examples" / "digits" / "recipe.yaml"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

pytest.importorskip("sklearn")


def trivium(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("trivium")), *arguments]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def test_its_composition_is_proved(tmp_path: Path) -> None:
    done = trivium("certify", str(RECIPE), "--seconds", "1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "digits, 4 teachers: 5 PROVED." in done.stdout


@pytest.mark.deep
def test_it_trains_a_student_that_knows_both_tasks_and_reports_it(tmp_path: Path) -> None:
    done = trivium("distill", str(RECIPE), "--out", "run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "run" / "accuracy.json").read_text(encoding="utf-8"))
    student, mixture, *teachers = found["rows"]
    assert [row["name"] for row in teachers] == ["linear", "forest", "parity", "both"]
    assert student["tasks"]["digit"]["accuracy"] > 0.9  # a tenth by chance
    assert student["tasks"]["parity"]["accuracy"] > 0.85
    assert mixture["tasks"]["digit"]["accuracy"] > 0.9
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert f"{100 * student['accuracy']:.1f} %" in page
    assert 'id="text"' not in page
    again = trivium("distill", str(RECIPE), "--out", "run", folder=tmp_path)
    assert again.returncode == 2
    assert "must not overwrite another" in again.stderr
    resumed = trivium("distill", str(RECIPE), "--out", "run", "--resume", folder=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads((tmp_path / "run" / "accuracy.json").read_text(encoding="utf-8")) == found
