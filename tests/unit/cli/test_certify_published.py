"""``trivium certify NAME --param …`` for rules from papers: what conforms is proved, what does not leaves a witness."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tiers import first
from trivium.certification import load
from trivium.cli import app
from trivium.cli.subject import reload

BROKEN = {
    "ebkd": ([], "W-N"),
    "ca_mkd": ([], "W-P"),
    "nemo_rl": (["score_by=max_prob", "alpha=2"], "W-F"),
    "min_ce": ([], "W-R"),
    "mopd": (["teacher_of=2,0,1"], "W-P"),
}
CONFORMING = [
    (["ebkd", "normalized=true", "smoothing=1"], "normalize(1 − entropy/(Σ entropy + 1))"),
    (["ca_mkd", "stable=true"], "normalize(Σ_{j≠k} exp(−label_log_prob_j))"),
    (["nemo_rl", "score_by=ce", "per_row=true", "budget=2"], "softmax(1·label_log_prob | β ≤ 2)"),
    (["avg_ce"], "softmax(exp(−sequence_loss))"),
    (["hardness", "reference=0.2", "prefer=far"], "softmax(1·tanh(log(gap/0.2)))"),
    (["scores", "weights=entropy:-0.5, margin:1", "budget=2"], "softmax(−0.5·entropy + 1·margin | β ≤ 2)"),
    (["scores", "weights=sequence_loss:-1", "scale=context"], "softmax(−1·sequence_loss)"),
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"}, catch_exceptions=False)


def certify(name: str, *params: str, asked: tuple[str, ...] = ()) -> Result:
    options = [part for param in params for part in ("--param", param)]
    return run("certify", name, "--teachers", "3", "--seconds", "0.2", "--json", "c.json", *options, *asked)


@pytest.mark.parametrize("name", first(BROKEN, 2))
def test_a_published_rule_is_violated_and_its_witness_replays(name: str) -> None:
    params, axiom = BROKEN[name]
    assert certify(name, *params, asked=("--lipschitz", "1000")).exit_code == 1
    assert axiom in {result.axiom for result in load("c.json").violated}
    again = run("replay", "c.json")
    assert again.exit_code == 0, again.stdout
    assert "NOT reproduced" not in again.stdout


@pytest.mark.parametrize(("call", "formula"), first(CONFORMING, 3), ids=lambda value: " ".join(value))
def test_a_conforming_form_is_proved_and_loads_again(call: list[str], formula: str) -> None:
    result = certify(*call)
    assert result.exit_code == 0, result.stdout
    certificate = load("c.json")
    assert {result.verdict for result in certificate.results} == {"PROVED"}
    assert certificate.formula == formula
    assert reload(certificate.source).operator.formula() == formula


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (["scores", "weights=entropy"], "NAME:NUMBER"),
        (["scores", "weights=entropy:x"], "number"),
        (["scores", "weights=entorpy:1"], "Did you mean"),
        (["scores"], "needs --param weights"),
        (["mopd", "teacher_of=0,5"], "must name existing teachers"),
        (["nemo_rl", "score_by=best"], "score_by"),
    ],
)
def test_options_that_do_not_fit_are_one_line(call: list[str], line: str) -> None:
    result = certify(*call)
    assert result.exit_code == 2
    assert line in result.output
