"""A user's code in a child that is watched: whatever it does to its process, a command ends with one line and exit code
2, and leaves no certificate.

Catches what no test in this process can: a rule that ends the process, crashes it or never returns.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tiers import first
from trivium.certification import load
from trivium.cli import app, supervise

HEAD = """
import ctypes, os, sys, time
import torch
from trivium.weighting import rule

{at_import}

@rule(scale="token", features={{"entropy": (0.0, 4.0)}})
def mine(entropy):
    {in_rule}
    return torch.softmax(-entropy, dim=-1)
"""
#: At import; at capture; in the search, where an opaque rule sees numbers.
PLACES = {
    "import": ("{}", "pass"),
    "capture": ("", "{}"),
    "search": ("", "if float(entropy.reshape(-1)[0]) > 2: {}"),
}
QUICK = ("certify", "rules.py:mine", "--teachers=3", "--seconds=0.05", "--json=c.json")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trivium(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"}, catch_exceptions=False)


def write(folder: Path, place: str, what: str) -> None:
    at_import, in_rule = (part.format(what) for part in PLACES[place])
    text = HEAD.format(at_import=at_import, in_rule=in_rule)
    (folder / "rules.py").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("place", "what", "said"),
    first(
        [
            ("import", "sys.exit(0)", "SystemExit"),
            ("import", "os._exit(0)", "exit code 0"),
            ("capture", "sys.exit(0)", "exits"),
            ("capture", "os._exit(0)", "exit code 0"),
            ("search", "os._exit(0)", "exit code 0"),
            ("search", "ctypes.string_at(0)", "SIGSEGV"),
        ],
        2,
    ),
)
def test_a_rule_that_ends_its_process_is_one_line_and_no_certificate(
    here: Path, place: str, what: str, said: str
) -> None:
    write(here, place, what)
    result = trivium(*QUICK)
    assert result.exit_code == 2, result.stdout
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert not (here / "c.json").exists()


@pytest.mark.deep
def test_a_rule_that_exits_where_it_sees_numbers_is_not_defined_there(here: Path) -> None:
    write(here, "search", "sys.exit(0)")
    result = trivium(*QUICK)
    assert result.exit_code == 1
    (violated,) = load("c.json").violated
    assert violated.axiom == "W-N"
    assert violated.witness is not None
    assert "it exits" in violated.witness.note
    assert trivium("replay", "c.json").exit_code == 0


@pytest.mark.parametrize("place", first(["import", "search"]))
def test_a_rule_that_hangs_is_stopped(here: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setattr(supervise, "GRACE", 3.0)
    write(here, place, "time.sleep(600)")
    result = trivium(*QUICK)
    assert result.exit_code == 2
    assert "20 × --seconds and 3 s more" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (here / "c.json").exists()


@pytest.mark.deep
def test_a_child_gives_a_certificate_and_verify_and_replay_are_watched_too(here: Path) -> None:
    write(here, "import", "if os.path.exists('bomb'): os._exit(0)")
    made = trivium(*QUICK)
    assert made.exit_code == 0, made.stderr
    assert "1 PROVED, 2 VERIFIED" in made.stdout
    assert load("c.json").programs
    assert trivium("verify", "c.json").exit_code == 0
    text = (here / "rules.py").read_text(encoding="utf-8").replace("return torch", "return 0.9 * torch")
    (here / "rules.py").write_text(text, encoding="utf-8")
    assert trivium(*QUICK).exit_code == 1
    assert trivium("replay", "c.json").exit_code == 0
    # Its file does not change, what lies beside it does.
    (here / "bomb").touch()
    for command in ("verify", "replay"):
        ended = trivium(command, "c.json")
        assert ended.exit_code == 2
        assert "it ended the process (exit code 0)" in ended.stderr


@pytest.mark.deep
def test_what_is_wrong_with_the_input_arrives_as_it_was_raised(here: Path) -> None:
    result = trivium("certify", "missing.py:mine", "--teachers=3")
    assert result.exit_code == 2
    assert "a rule's file must exist" in result.stderr
    write(here, "import", "")
    assert "Did you mean 'mine'?" in trivium("certify", "rules.py:mne", "--teachers=3").stderr


@pytest.mark.deep
@pytest.mark.parametrize(
    "weights", first(["torch.softmax(-entropy, -1).to('meta')", "torch.softmax(-entropy, -1) + 0j", "list(entropy)"])
)
def test_weights_that_are_no_real_numbers_are_one_line(here: Path, weights: str) -> None:
    write(here, "capture", f"return {weights}")
    result = trivium(*QUICK)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.stderr
    assert "rule 'mine' must return" in result.stderr
    assert not list(here.glob("*.json"))


def test_every_kind_of_failure_comes_back_as_what_it_was() -> None:
    def fails(error: Exception) -> dict[str, object]:
        def work() -> None:
            raise error

        told: dict[str, object] = json.loads(json.dumps(supervise._outcome(work)))
        return told

    assert supervise._answer(json.loads(json.dumps(supervise._outcome(lambda: [1])))) == [1]
    with pytest.raises(FileNotFoundError, match="x"):
        supervise._answer(fails(FileNotFoundError(2, "No such file", "x")))
    with pytest.raises(RuntimeError, match="ZeroDivisionError") as caught:
        supervise._answer(fails(ZeroDivisionError("by zero")))
    assert "Traceback" in str(caught.value.__cause__)
