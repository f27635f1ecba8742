"""``trivium certify``, ``replay`` and ``verify``: exit codes, files left behind, one line for what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import trivium
from trivium.certification import load
from trivium.certification.certificate import digest_of
from trivium.cli import app, work
from trivium.cli.subject import parse_options, reload, resolve
from trivium.errors import InputError

RULES = """
import torch
from trivium.weighting import rule

ENTROPY = {"entropy": (0.0, 12.0)}

@rule(scale="token", features=ENTROPY)
def fine(entropy):
    return torch.softmax(-entropy, dim=-1)

@rule(scale="token", features=ENTROPY)
def unnormalised(entropy):
    return 0.9 * torch.softmax(-entropy, dim=-1)

@rule(scale="token", features=ENTROPY)
def hard_switch(entropy):
    best = torch.nn.functional.one_hot(entropy.argmin(-1), entropy.shape[-1])
    return 0.8 * best.to(entropy.dtype) + 0.2 / entropy.shape[-1]

@rule(scale="token", features=ENTROPY)
def anti_ordered(entropy):
    return torch.softmax(torch.arange(entropy.shape[-1]) - 0.01 * entropy, dim=-1)

@rule(scale="token", features={"margin": (0.0, 1.0)})
def unbounded(margin):
    return torch.softmax(100 * margin, dim=-1)

@rule(scale="token", features=ENTROPY)
def coupled(entropy):
    rows = entropy.reshape(-1, entropy.shape[-1])
    return torch.softmax(rows.mean(0) - entropy * (rows.std() > 0.1), dim=-1)

@rule(scale="token", features=ENTROPY)
def random(entropy):
    return torch.softmax(torch.rand_like(entropy), dim=-1)

def plain(entropy):
    return entropy
"""

BROKEN = [
    ("unnormalised", [], "W-N"),
    ("hard_switch", ["--lipschitz", "1"], "W-R"),
    ("anti_ordered", ["--order", "a>b>c"], "W-S"),
    ("unbounded", ["--floor", "0.05"], "W-B"),
    ("coupled", [], "W-F"),
    ("random", [], "W-F"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.py").write_text(RULES, encoding="utf-8")
    # In this process: that a child does the same and is watched is for test_supervised_commands.py.
    monkeypatch.setattr(work, "supervised", lambda name, arguments, what, seconds: work.WORK[name](**arguments))
    return tmp_path


def trivium_in_process(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"}, catch_exceptions=False)


def trivium_in_subprocess(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from trivium.cli import main; main()", *arguments]
    source = str(Path(trivium.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def certify(*arguments: str) -> Result:
    return trivium_in_process("certify", *arguments, "--teachers", "3", "--seconds", "0.3")


def test_a_built_in_rule_is_proved_and_leaves_its_files(here: Path) -> None:
    result = certify("entropy", "--param", "budget=2", "--json", "out/c.json", "--markdown", "card.md")
    assert result.exit_code == 0
    assert "PROVED" in result.stdout
    assert "T3" not in result.stderr
    assert {result.verdict for result in load("out/c.json").results} == {"PROVED"}
    assert (here / "card.md").read_text(encoding="utf-8").startswith("## ")


def test_a_rule_with_an_argument_that_is_a_list(here: Path) -> None:
    result = certify("trivium.domain_map", "--param", "teacher_of=2,0,1", "--param", "budget=3")
    assert result.exit_code == 0
    assert "map(0→2, 1→0, 2→1 | β ≤ 3)" in result.stdout


def test_an_order_goes_by_the_names_given(here: Path) -> None:
    result = certify("static", "--param", "weights=1,2,3", "--names", "x,y,z", "--order", "z>y>x", "--margin", "0.1")
    assert result.exit_code == 0
    assert "z>y>x by 0.1 nats" in result.stdout


def test_a_users_rule_that_keeps_its_axioms_is_verified(here: Path) -> None:
    result = certify("rules.py:fine", "--floor", "0.000001", "--lipschitz", "2")
    assert result.exit_code == 0
    assert "1 PROVED, 4 VERIFIED" in result.stdout
    assert not list(here.glob("*.json"))


@pytest.mark.parametrize(("name", "asked", "axiom"), BROKEN, ids=[name for name, _, _ in BROKEN])
def test_a_broken_rule_is_violated_with_a_witness_that_replays(
    here: Path, name: str, asked: list[str], axiom: str
) -> None:
    result = certify(f"rules.py:{name}", *asked)
    assert result.exit_code == 1
    witness = f"{name}.witness.json"
    assert f"trivium replay {witness}" in result.stdout
    assert axiom in {result.axiom for result in load(witness).violated}
    again = trivium_in_process("replay", witness)
    assert again.exit_code == 0, again.stdout
    assert "NOT reproduced" not in again.stdout


@pytest.mark.deep
def test_the_whole_way_in_processes_of_their_own(here: Path) -> None:
    first = trivium_in_subprocess(
        here, "certify", "rules.py:hard_switch", "--teachers=2", "--lipschitz=1", "--seconds=0.3", "--json=c.json"
    )
    assert (first.returncode, first.stderr) == (1, "")
    replayed = trivium_in_subprocess(here, "replay", "c.json")
    assert (replayed.returncode, replayed.stderr) == (0, "")
    assert "reproduced" in replayed.stdout
    assert trivium_in_process("verify", "c.json").exit_code == 0
    bad = trivium_in_subprocess(here, "certify", "rules.py:hard_swich", "--teachers=2")
    assert bad.returncode == 2
    assert bad.stdout == ""
    assert bad.stderr.count("\n") == 1
    assert "'hard_switch'" in bad.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["entorpy", "--teachers", "3"], "'entropy'"),
        (["entropy"], "--teachers 3"),
        (["entropy", "--teachers", "0"], "at least one"),
        (["entropy", "--teachers", "three"], "--teachers"),
        (["entropy", "--teachers", "3", "--floof", "1"], "--floor"),
        (["entropy", "--teachers", "3", "--floor", "0.4"], "0.333"),
        (["entropy", "--teachers", "3", "--order", "a>b"], "missing: c"),
        (["entropy", "--teachers", "3", "--order", "a>b>d"], "'d'"),
        (["entropy", "--teachers", "3", "--margin", "1"], "order"),
        (["entropy", "--teachers", "3", "--lipschitz", "-1"], "lipschitz"),
        (["entropy", "--teachers", "3", "--names", "a,b"], "--names"),
        (["entropy", "--teachers", "3", "--param", "strenth=1"], "'strength'"),
        (["entropy", "--teachers", "3", "--param", "strength=x"], "number"),
        (["entropy", "--teachers", "3", "--param", "strength"], "NAME=VALUE"),
        (["entropy", "--teachers", "3", "--run", "nowhere"], "metrics.jsonl"),
        (["gap", "--teachers", "3", "--param", "prefer=both"], "near"),
        (["static", "--teachers", "3", "--param", "weights=1,2"], "one a teacher"),
        (["domain_map", "--teachers", "3"], "teacher_of"),
        (["rules.py", "--teachers", "3"], "rules.py:NAME"),
        (["rules.py:fin", "--teachers", "3"], "'fine'"),
        (["rules.py:plain", "--teachers", "3"], "@trivium.rule"),
        (["rules.py:fine", "--teachers", "3", "--param", "x=1"], "--param"),
        (["missing.py:fine", "--teachers", "3"], "missing.py"),
        (["missing.yaml"], "missing.yaml"),
        ([], "target"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(here: Path, arguments: list[str], said: str) -> None:
    result = trivium_in_process("certify", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("trivium: ")
    assert said in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", "line 1"),
        ("import torch\nimport no_such_module\n", "line 2"),
        ("raise SystemExit(3)\n", "SystemExit"),
        ("x = 1 / 0\n", "ZeroDivisionError"),
        (
            "from trivium.weighting import rule\n@rule('tokn', ['entropy'])\ndef f(entropy):\n    return entropy\n",
            "'token'",
        ),
    ],
)
def test_a_file_that_does_not_run_is_one_line(here: Path, text: str, said: str) -> None:
    (here / "bad.py").write_text(text, encoding="utf-8")
    result = trivium_in_process("certify", "bad.py:f", "--teachers", "3")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert said in result.stderr


def test_a_file_may_import_what_lies_beside_it(here: Path) -> None:
    (here / "sub").mkdir()
    (here / "sub" / "helper.py").write_text("SCALE = 0.5\n", encoding="utf-8")
    (here / "sub" / "mine.py").write_text(RULES + "\nfrom helper import SCALE\n", encoding="utf-8")
    before = list(sys.path)
    assert resolve("sub/mine.py:fine").name == "fine"
    assert sys.path == before


@pytest.mark.parametrize("command", ["replay", "verify"])
@pytest.mark.parametrize("text", [None, "{", "[]", '{"schema": "other"}', "[" * 100_000])
def test_a_file_that_is_no_certificate_is_bad_input(here: Path, command: str, text: str | None) -> None:
    if text is not None:
        (here / "c.json").write_text(text, encoding="utf-8")
    result = trivium_in_process(command, "c.json")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


def test_replay_needs_a_violation(here: Path) -> None:
    certify("margin", "--json", "c.json")
    result = trivium_in_process("replay", "c.json")
    assert result.exit_code == 2
    assert "violation" in result.stderr


def test_a_rule_that_changed_is_refused_by_replay_and_verify(here: Path) -> None:
    certify("rules.py:unnormalised", "--json", "c.json")
    (here / "rules.py").write_text(RULES.replace("0.9 *", "1.0 *"), encoding="utf-8")
    replayed = trivium_in_process("replay", "c.json")
    assert replayed.exit_code == 2
    assert "changed since" in replayed.stderr
    verified = trivium_in_process("verify", "c.json")
    assert verified.exit_code == 1
    assert "refused: rules.py has changed" in verified.stdout
    (here / "rules.py").unlink()
    assert "must exist" in trivium_in_process("verify", "c.json").stdout


def test_a_residual_that_does_not_come_back_is_exit_code_1(here: Path) -> None:
    certify("rules.py:unnormalised", "--json", "c.json")
    data = json.loads((here / "c.json").read_text(encoding="utf-8"))
    for result in data["results"]:
        if result["witness"]:
            result["witness"]["residual"] = 0.25
    (here / "c.json").write_text(json.dumps(data), encoding="utf-8")
    assert "refused: the certificate was edited" in trivium_in_process("replay", "c.json").stdout
    (here / "c.json").write_text(json.dumps({**data, "digest": digest_of(data)}), encoding="utf-8")
    result = trivium_in_process("replay", "c.json")
    assert result.exit_code == 1
    assert "NOT reproduced" in result.stdout


def test_an_edited_certificate_is_refused(here: Path) -> None:
    certify("margin", "--json", "c.json")
    assert trivium_in_process("verify", "c.json").exit_code == 0
    text = (here / "c.json").read_text(encoding="utf-8")
    (here / "c.json").write_text(text.replace('"cap": 0.', '"cap": 0.0'), encoding="utf-8")
    result = trivium_in_process("verify", "c.json")
    assert result.exit_code == 1
    assert "refused: the certificate was edited" in result.stdout


def test_a_forged_digest_does_not_help(here: Path) -> None:
    certify("margin", "--json", "c.json")
    certificate = load("c.json")
    assert certificate.constants is not None
    better = certificate.constants.model_copy(update={"floor": 0.3})
    certificate.model_copy(update={"constants": better}).write("c.json")
    result = trivium_in_process("verify", "c.json")
    assert result.exit_code == 1
    assert "constants is not as certified" in result.stdout


def test_an_operator_given_in_python_cannot_be_loaded_again() -> None:
    from trivium.certification.source import ObjectSource

    with pytest.raises(InputError, match="ClampInfluence"):
        reload(ObjectSource(type="ClampInfluence"))


def test_options_are_text_lists_and_none() -> None:
    assert parse_options(["a=1", "b=1,2", "c=none", "d=1,"]) == {"a": "1", "b": ["1", "2"], "c": None, "d": ["1"]}


def test_an_unknown_command_and_help(here: Path) -> None:
    result = trivium_in_process("certfy")
    assert result.exit_code == 2
    assert "certfy" in result.stderr
    for command in ("certify", "replay", "verify"):
        text = trivium_in_process(command, "--help")
        assert text.exit_code == 0
        assert "Exit code" in text.stdout


def test_the_command_line_loads_nothing_heavy_before_a_command_runs() -> None:
    heavy = ("transformers", "datasets", "pydantic", "rich.table", "trivium.certification", "trivium.training")
    code = f"import sys, trivium.cli; print([m for m in {heavy} if m in sys.modules])"
    source = str(Path(trivium.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


RECIPE = """
name: two
student: {config: {model_type: llama}, tokenizer: nowhere}
teachers:
  - {name: python, model: nowhere/python}
  - {name: prose, model: nowhere/prose}
data:
  domains: [{name: python, train: a.txt, validation: b.txt}]
scheme:
  token: [{rule: entropy, options: {budget: 1}}, {rule: "rules.py:fine", strength: 0.5}]
  context: [{rule: prefix_posterior, options: {budget: 2}}]
  budget: 3
  floor: 0.05
  order: python > prose
"""


def test_a_recipe_is_certified_for_what_its_scheme_promises(here: Path) -> None:
    (here / "mine").mkdir()
    (here / "rules.py").rename(here / "mine" / "rules.py")
    recipe = here / "mine" / "two.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    result = trivium_in_process("certify", "mine/two.yaml", "--seconds", "0.3", "--json", "c.json")
    assert result.exit_code == 0, result.stderr
    certificate = load("c.json")
    assert (certificate.name, certificate.specification.names, certificate.specification.floor) == (
        "two",
        ("python", "prose"),
        0.05,
    )
    verdicts = {result.axiom: result.verdict for result in certificate.results}
    assert verdicts == {"W-F": "PROVED", "W-N": "PROVED", "W-P": "PROVED", "W-B": "PROVED", "W-S": "PROVED"}
    assert trivium_in_process("verify", "c.json").exit_code == 0
    recipe.write_text(RECIPE + "# a remark changes nothing\n", encoding="utf-8")
    assert trivium_in_process("verify", "c.json").exit_code == 0
    recipe.write_text(RECIPE.replace("0.05", "0.04"), encoding="utf-8")
    changed = trivium_in_process("verify", "c.json")
    assert changed.exit_code == 1
    assert "two.yaml has changed" in changed.stdout
    recipe.write_text(RECIPE, encoding="utf-8")
    (here / "mine" / "rules.py").write_text(RULES + "\n", encoding="utf-8")
    changed = trivium_in_process("verify", "c.json")
    assert changed.exit_code == 1
    assert "rules.py has changed" in changed.stdout


def test_a_recipe_says_its_teachers_itself(here: Path) -> None:
    (here / "two.yaml").write_text(RECIPE, encoding="utf-8")
    for arguments, said in ((["--teachers", "3"], "3 and 2"), (["--param", "x=1"], "recipe")):
        result = trivium_in_process("certify", "two.yaml", *arguments)
        assert result.exit_code == 2
        assert said in result.stderr


def test_a_certificate_of_a_run_shows_what_its_monitor_saw(here: Path) -> None:
    (here / "run").mkdir()
    rows = [{"kind": "step", "step": 4, "axioms": {"W-N": 1e-8, "W-B": -0.01}}]
    (here / "run" / "metrics.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    result = certify("margin", "--run", "run", "--json", "c.json")
    assert result.exit_code == 0
    assert "over 4 training steps" in result.stdout
    assert load("c.json").kind == "run"
    assert trivium_in_process("verify", "c.json").exit_code == 0
    (here / "run" / "metrics.jsonl").write_text(json.dumps(rows[0] | {"step": 5}), encoding="utf-8")
    assert "not the trace" in trivium_in_process("verify", "c.json").stdout


@pytest.mark.deep
def test_a_changed_file_beside_the_rule_is_refused(here: Path) -> None:
    (here / "helping.py").write_text("from deeper.scale import SCALE\n", encoding="utf-8")
    (here / "deeper").mkdir()
    (here / "deeper" / "__init__.py").write_text("", encoding="utf-8")
    (here / "deeper" / "scale.py").write_text("SCALE = 0.25\n", encoding="utf-8")
    (here / "mine.py").write_text(
        "import torch\nimport trivium as tv\nfrom helping import SCALE\n\n"
        "@tv.rule(scale='token', features={'entropy': (0.0, 12.0)})\n"
        "def scaled(entropy):\n    return torch.softmax(-SCALE * entropy, dim=-1)\n",
        encoding="utf-8",
    )
    assert (
        trivium_in_subprocess(
            here, "certify", "mine.py:scaled", "--teachers", "3", "--seconds", "0.2", "--json", "c.json"
        ).returncode
        == 0
    )
    source = load("c.json").source
    assert set(source.imports) == {"helping.py", "deeper/__init__.py", "deeper/scale.py"}  # type: ignore[union-attr]
    assert trivium_in_subprocess(here, "verify", "c.json").returncode == 0
    (here / "deeper" / "scale.py").write_text("SCALE = 0.2500001\n", encoding="utf-8")
    refused = trivium_in_subprocess(here, "verify", "c.json")
    assert refused.returncode == 1
    assert "scale.py has changed since it was certified" in refused.stdout
