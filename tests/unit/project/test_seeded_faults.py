"""The table of seeded faults fits the code, and the recorded run of it is of this table and missed none."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.faults import FAULTS
from benchmarks.seeded_faults import RESULTS, planted, summary

ROOT = Path(__file__).resolve().parents[3]


def test_every_fault_can_be_planted_in_the_code_as_it_is() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) == 50
    for fault in FAULTS:
        file, text = planted(fault, ROOT / "src")  # raises where its text does not stand there once
        compile(text, str(file), "exec")
        assert all((ROOT / "tests" / test.partition("::")[0]).exists() for test in fault.tests), fault.name


def test_the_recorded_run_is_of_these_faults_and_missed_none() -> None:
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in content["faults"]}
    assert list(rows) == [fault.name for fault in FAULTS]
    assert content["summary"] == summary(rows)
    assert [name for name, row in rows.items() if row["now"]["tier"] is None] == []
