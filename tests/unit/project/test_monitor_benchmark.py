"""The benchmark of the monitor: it runs, its statistics are right, and the numbers it left keep its claim."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from by_path import load

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return load("benchmarks/monitor.py")


def test_the_numbers_it_left_keep_its_claim(benchmark: ModuleType) -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / "monitor.json").read_text(encoding="utf-8"))
    assert result["limit"] == benchmark.LIMIT == 0.02
    assert result["setting"]["vocabulary"] == 32000
    assert [(case["steps"], case["rows"], case["tokens_a_row"]) for case in result["cases"]] == list(benchmark.CASES)
    for case in result["cases"]:
        for arm in ("monitored", "repairing"):
            for clock in ("cpu", "wall"):
                assert 0 < case["inside"][arm]["both"][clock]["share"]["median"] < result["limit"]


@pytest.mark.parametrize("steps", ["full", "cheapest"])
def test_it_measures_every_part_of_a_step(benchmark: ModuleType, steps: str) -> None:
    case: dict[str, Any] = benchmark.measure(steps, 2, 8, 50, rounds=3)
    for arm, inside in case["inside"].items():
        for clock in ("cpu", "wall"):
            whole = case["step_ms"][arm][clock]
            assert whole["low"] <= whole["median"] <= whole["high"]
            parts = [inside[part][clock]["ms"]["median"] for part in ("watch", "shares")]
            assert min(parts) > 0
            assert max(parts) <= inside["both"][clock]["ms"]["high"] <= whole["high"]


def test_the_ratio_is_paired(benchmark: ModuleType) -> None:
    # Rounds differ a hundredfold, their ratio does not: paired draws leave no doubt, unpaired ones would.
    slow = [1.02 * 100 ** (k / 10) for k in range(11)]
    found = benchmark.ratio(slow, [value / 1.02 for value in slow])
    assert found["ratio"] == pytest.approx(1.02)
    assert found["interval"] == pytest.approx([1.02, 1.02])
    assert benchmark.spread([float(k) for k in range(101)], 2.0) == {"median": 100.0, "low": 10.0, "high": 190.0}
