"""``trivium certify --pareto``: asked from the command line, and a witness of gradients that replays."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from trivium.certification import load
from trivium.cli import app


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"}, catch_exceptions=False)


def test_a_rule_that_reads_no_gradients_is_refuted_with_some() -> None:
    asked = ("certify", "margin", "--teachers", "2", "--pareto", "--seconds", "0.1", "--json", "c.json")
    assert run(*asked).exit_code == 1
    certificate = load("c.json")
    assert certificate.specification.pareto
    assert [result.axiom for result in certificate.violated] == ["W-C"]
    again = run("replay", "c.json")
    assert again.exit_code == 0, again.stdout
    assert "gram" in again.stdout


@pytest.mark.deep
def test_a_rule_that_claims_it_is_asked_without_being_told() -> None:
    asked = ("certify", "aekd", "--param", "cap=1", "--teachers", "2", "--seconds", "1", "--json", "c.json")
    assert run(*asked).exit_code == 1  # a weight may be zero
    verdicts = {result.axiom: result.verdict for result in load("c.json").results}
    assert (verdicts["W-C"], verdicts["W-P"]) == ("PROVED", "VIOLATED")
