"""Three lines in a user's pytest: ids, what a failing test says, and that the replay it names reproduces."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import trivium
import trivium as tv
from trivium.certification import Witness
from trivium.certification.falsify import replay
from trivium.cli import app
from trivium.errors import InfeasibleError, InputError, RuleError
from trivium.scheme import compose
from trivium.simplex.constants import Constants, bounded
from trivium.testing import checks, parametrize_with_axioms
from trivium.weighting.base import Features, ScoreRule
from trivium.weighting.features import Range

USERS_TEST = """
import torch
import trivium as tv
from trivium.testing import parametrize_with_axioms

@tv.rule(scale="token", features={"entropy": (0.0, 12.0)})
def fine(entropy):
    return 0.05 + 0.85 * torch.softmax(-entropy, dim=-1)

@tv.rule(scale="token", features={"entropy": (0.0, 12.0)})
def greedy(entropy):
    return torch.softmax(-entropy, dim=-1)

@parametrize_with_axioms([fine, greedy, tv.Entropy(budget=2.0)], num_teachers=3, floor=0.05, seconds=0.1)
def test_my_rules(check): check()
"""


def softmax_rule(scale: float = 1.0) -> tv.weighting.UserRule:
    @tv.rule(scale="token", features={"entropy": (0.0, 12.0)})
    def scaled(entropy: Tensor) -> Tensor:
        return scale * torch.softmax(-entropy, dim=-1)

    return scaled


def ids(*arguments: object, **options: object) -> list[str]:
    return [check.id for check in checks(*arguments, **options)]  # type: ignore[arg-type]


@pytest.mark.deep
def test_a_users_three_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_mine.py").write_text(USERS_TEST, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "test_mine.py"]
    source = str(Path(trivium.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "PASSED test_mine.py::test_my_rules[fine-W-B]" in done.stdout
    assert "PASSED test_mine.py::test_my_rules[entropy-constants]" in done.stdout
    assert re.findall(r"FAILED test_mine.py::test_my_rules\[(\S+)\]", done.stdout) == ["greedy-W-B"]
    assert "greedy breaks W-B (floor 0.05)" in done.stdout
    assert "checks.py" not in done.stdout, "a failing test must not show the kit's own frames"
    hint = re.search(r"replay +(trivium certify .*)\n.*?(trivium replay .*)\n", done.stdout)
    assert hint is not None
    monkeypatch.chdir(tmp_path)
    results = [CliRunner().invoke(app, shlex.split(line)[1:]) for line in hint.groups()]
    assert [result.exit_code for result in results] == [1, 0]
    assert "reproduced" in results[1].stdout


def test_what_is_asked_and_what_a_rule_claims_become_tests() -> None:
    entropy, plain = tv.Entropy(budget=2.0), softmax_rule()
    assert ids([plain], num_teachers=3) == ["scaled-W-F", "scaled-W-N", "scaled-W-P"]
    assert ids([plain], num_teachers=2, cap=0.9, lipschitz=2.0, order="a>b")[3:] == [
        "scaled-W-B",
        "scaled-W-R",
        "scaled-W-S",
    ]
    assert [name.removeprefix("entropy-") for name in ids([entropy])] == [
        "W-F",
        "W-N",
        "W-P",
        "W-B",
        "W-R",
        "constants",
    ]
    two = ids([entropy, tv.Entropy(budget=1.0)])
    assert len(set(two)) == len(two)
    assert two[-1] == "entropy-2-constants"


def test_a_scheme_brings_its_teachers_names_and_order() -> None:
    scheme = compose(["x", "y"], token=[tv.Entropy(budget=1.0)], floor=0.1, order="y>x", order_margin=0.2)
    (check,) = [check for check in checks([scheme]) if check.axiom == "W-S"]
    assert check.subject is not None
    specification = check.subject.specification
    assert (specification.names, specification.floor, specification.order_margin) == (("x", "y"), 0.1, 0.2)
    with pytest.raises(InputError, match="number of teachers"):
        checks([scheme], num_teachers=3)


def test_the_decorator_is_a_pytest_mark() -> None:
    mark = parametrize_with_axioms([softmax_rule()], num_teachers=3).mark
    assert mark.name == "parametrize"
    assert mark.args[0] == "check"
    assert [parameter.id for parameter in mark.args[1]] == ["scaled-W-F", "scaled-W-N", "scaled-W-P"]


def test_the_rule_is_certified_once() -> None:
    first, second, *_ = checks([softmax_rule()], seconds=0.1)
    assert first.subject is second.subject
    assert first.subject is not None
    assert first.subject.certificate is first.subject.certificate


def test_a_rule_that_no_file_has_by_name_is_replayed_from_python() -> None:
    operator = softmax_rule(0.9)
    check = next(check for check in checks([operator], seconds=1.0) if check.axiom == "W-N")
    with pytest.raises(AssertionError) as failure:
        check()
    said = str(failure.value)
    written = re.search(r"json\.loads\((.*)\)\)\)", said)
    assert written is not None
    witness = Witness.from_json(json.loads(eval(written.group(1))))
    assert replay(operator, witness) == pytest.approx(0.1)
    assert "verdict   VIOLATED" in said
    assert "residual  0.1 " in said


@pytest.mark.deep
def test_a_built_in_rule_is_replayed_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rules = [tv.DomainMap((1, 0), budget=4.0)]
    check = next(check for check in checks(rules, num_teachers=2, floor=0.2, seconds=1.0) if check.axiom == "W-B")
    with pytest.raises(AssertionError) as failure:
        check()
    lines = re.findall(r"(trivium (?:certify|replay) .*)", str(failure.value))
    assert [CliRunner().invoke(app, shlex.split(line)[1:]).exit_code for line in lines] == [1, 0]


def test_a_weaker_word_than_asked_fails_and_says_so() -> None:
    rules = [softmax_rule()]
    lenient = next(check for check in checks(rules, seconds=1.0) if check.axiom == "W-N")
    lenient()
    strict = next(check for check in checks(rules, seconds=1.0, at_least="PROVED") if check.axiom == "W-N")
    with pytest.raises(AssertionError, match=r"W-N .* is not PROVED"):
        strict()


class Boastful(ScoreRule):
    """Declares half of its influence."""

    budget = None
    scale = "token"
    name = "boastful"
    ranges = {"entropy": Range(0.0, 4.0)}  # noqa: RUF012

    def score(self, features: Features) -> Tensor:
        return -features["entropy"]

    def slopes(self) -> dict[str, float]:
        return {"entropy": -1.0}

    def constants(self, num_teachers: int) -> Constants:
        return bounded(num_teachers, 2.0, {"entropy": 2.0})

    def formula(self) -> str:
        return "softmax(−entropy), they say within 2 nats"


def test_constants_that_are_wrong_fail_their_own_check() -> None:
    check = checks([Boastful()], seconds=1.0)[-1]
    assert check.id == "boastful-constants"
    with pytest.raises(AssertionError, match=r"breaks constants\."):
        check()


@tv.rule(scale="token", features={"entropy": (0.0, 12.0)})
def summed_away(entropy: Tensor) -> Tensor:
    return entropy.sum(dim=-1)


def test_a_rule_that_cannot_be_evaluated_says_why() -> None:
    with pytest.raises(RuleError, match="shape"):
        checks([summed_away])[0]()


@pytest.mark.parametrize(
    ("rules", "options", "error", "said"),
    [
        ([], {}, InputError, "there must be a rule"),
        ([torch.softmax], {}, InputError, "Decorate a function"),
        ([tv.Entropy], {}, InputError, "instance of a class"),
        ([tv.Entropy()], {"floor": 0.4}, InfeasibleError, "lower it to 0.333"),
        ([tv.Entropy()], {"at_least": "VIOLATED"}, InputError, "weakest verdict"),
        ([tv.Entropy()], {"order": "a>b"}, InputError, "missing: c"),
    ],
)
def test_a_mistake_is_one_line_at_decoration(
    rules: list[object], options: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as raised:
        parametrize_with_axioms(rules, **options)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
