"""What happens around a command while it runs: files that are edited, streams that are closed, a demo stopped."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tiny_world import World
from trivium.cli import app, demo, finish
from trivium.training import run

TRIVIUM = Path(sys.executable).parent / "trivium"
RULE = "import trivium as tv\n\n\n@tv.rule(scale='token', features=['entropy'])\ndef mine(entropy):\n    return "


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def trivium(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.mark.deep
def test_a_certificate_is_of_what_was_trained_and_not_of_what_was_edited_meanwhile(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe and the rule were read again at the end of a run: edited for the next one, that was certified."""
    monkeypatch.setattr(finish, "certify", functools.partial(finish.certify, seconds=0.1))
    monkeypatch.setattr("trivium.report.write._plotly", lambda: "/* plotly.js */")
    rule = tmp_path / "mine.py"
    rule.write_text(RULE + "(-entropy).softmax(-1)\n", encoding="utf-8")
    scheme = {"token": [{"rule": "mine.py:mine"}], "floor": 0.01}
    recipe = world.write("recipe.txt", scheme=scheme, train={"steps": 4})  # whatever it is called
    begun = trivium("certify", world.write("same.yaml", scheme=scheme, train={"steps": 4}), "--seconds", "0.1",
                    "--json", tmp_path / "begun.json")  # fmt: skip
    assert begun.exit_code == 0, begun.output
    proper = run.distill

    def edited(*arguments: Any, **options: Any) -> Any:
        found = proper(*arguments, **options)
        rule.write_text(RULE + "(+entropy).softmax(-1)\n", encoding="utf-8")
        world.write("recipe.txt", scheme={**scheme, "floor": 0.2}, train={"steps": 4})
        return found

    monkeypatch.setattr(run, "distill", edited)
    done = trivium("distill", recipe, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out" / "certificate.json").read_text(encoding="utf-8"))
    expected = json.loads((tmp_path / "begun.json").read_text(encoding="utf-8"))
    assert found["source"] == {**expected["source"], "path": str(recipe)}
    assert found["specification"]["floor"] == 0.01
    assert found["programs"] == expected["programs"]
    again = trivium("verify", tmp_path / "out" / "certificate.json", "--seconds", "0.1")
    assert again.exit_code == 1, again.output
    assert "has changed since it was certified" in again.output


@pytest.mark.deep
@pytest.mark.skipif(sys.platform == "win32", reason="closes streams as a POSIX shell does")
@pytest.mark.parametrize(("closed", "target", "code"), [(">&-", "entropy", 0), ("<&- >&- 2>&-", "entorpy", 2)])
def test_a_stream_that_is_closed_from_the_start_changes_nothing(
    closed: str, target: str, code: int, tmp_path: Path
) -> None:
    """Python has None for it, and gives its number to the next file that is opened."""
    command = f"{TRIVIUM} certify {target} --teachers 2 --seconds 0 --json c.json {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=dict(os.environ), capture_output=True, check=False)
    assert done.returncode == code, done
    assert code or json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["results"]


def test_a_demo_that_was_stopped_while_it_copied_goes_on(tmp_path: Path) -> None:
    """It was refused for the file that it had copied itself."""
    full = tmp_path / "fitted"
    (full / "student").mkdir(parents=True)
    for name in ("recipe.yaml", "metrics.jsonl", "data.json", "student/model.safetensors"):
        (full / name).write_text(name, encoding="utf-8")
    for _ in range(2):
        demo.copy_main_run(tmp_path)
    (tmp_path / "student" / "of another.txt").write_text("left behind", encoding="utf-8")
    demo.copy_main_run(tmp_path)
    shutil.rmtree(full)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.json", "metrics.jsonl", "recipe.yaml", "student"]
    assert [path.name for path in (tmp_path / "student").iterdir()] == ["model.safetensors"]
