"""``trivium rules``: the catalogue as a user sees it, and asked again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from trivium.aggregation.claims import claims
from trivium.catalogue import ENTRIES, check, table
from trivium.cli import app


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["rules", *arguments], env={"COLUMNS": "200"}, catch_exceptions=False)


def test_every_row_stands_with_formula_cost_and_source() -> None:
    shown = run()
    assert shown.exit_code == 0
    for row in table.read():
        assert f"{row['formula']} · {row['cost']} · {row['source']}" in shown.stdout
    for claimed in claims():
        for row in claimed.to_json():
            assert row["formula"] in shown.stdout
    heads = [line for line in shown.stdout.splitlines() if line.startswith(("rule ", "aggregator ", "softening "))]
    assert [line.split()[-1] for line in heads] == ["W-C", "A-T(b)", "F-A"]


def test_one_rule_is_told_in_every_form_with_its_bounds_and_witnesses() -> None:
    shown = run("ca_mkd").stdout
    assert "ca_mkd (published, token scale)" in shown
    assert "ca_mkd, conforming (conforming, token scale)" in shown
    assert "β ≤ 4 nats" in shown
    assert "VIOLATED" in shown


def test_one_pool_is_told_with_its_reasons() -> None:
    shown = run("power").stdout
    assert shown.count("A-T(a)") == 2
    assert "Chebyshev" in shown


def test_a_name_that_is_none_costs_one_line() -> None:
    failed = run("entropi")
    assert failed.exit_code == 2
    assert "Did you mean 'entropy'?" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def test_the_rows_can_be_taken_along(tmp_path: Path) -> None:
    assert run("margin", "--json", str(tmp_path / "rows.json")).exit_code == 0
    (row,) = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert row["cells"]["W-S"]["witness"]["axiom"] == "W-S"


def test_asking_again_agrees_with_the_record() -> None:
    agreed = run("uniform", "--check")
    assert agreed.exit_code == 0, agreed.stdout
    assert "1 rows asked again" in agreed.stdout


def test_a_record_that_was_changed_by_hand_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row for row in table.read() if row["key"] == "uniform"]
    changed = json.loads(json.dumps(rows))
    changed[0]["cells"]["W-C"] = {"verdict": "PROVED", "note": "", "witness": None}
    monkeypatch.setattr(check, "read", lambda: changed)
    monkeypatch.setattr(check, "ENTRIES", [entry for entry in ENTRIES if entry.key == "uniform"])
    assert check.differences(["uniform"]) == ["uniform, W-C: recorded PROVED, now VIOLATED"]
    changed[0]["formula"] = "another"
    assert check.stale() == ["uniform is recorded with another formula, source, cost, form or scale"]
    monkeypatch.setattr(check, "ENTRIES", [])
    assert check.stale() == ["uniform is recorded and in no row"]
