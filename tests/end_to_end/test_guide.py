"""The guide, done: its rules, its commands with the exit codes that it states, its scheme."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guide.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python.*?\n(.*?)```", GUIDE, re.DOTALL)
COMMANDS = re.findall(r"^\$ (trivium .*)$", GUIDE, re.MULTILINE)
# `distill` needs teachers of one's own: the tests of the command line run it on small ones.
LOCAL = [command for command in COMMANDS if re.match(r"trivium (certify mine|replay|verify)", command)]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(command)
    executable = Path(sys.executable).with_name(program)
    return subprocess.run([executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``mine.py`` lies and the guide's commands have run, in their order."""
    folder = tmp_path_factory.mktemp("guide")
    (folder / "mine.py").write_text(PYTHON[0], encoding="utf-8")
    return folder


@pytest.mark.deep
def test_commands_do_what_the_guide_says(folder: Path) -> None:
    # One second of search is plenty here: the breach is at a corner of the box.
    done = {command: run(command + " --seconds 1" * ("certify" in command), folder) for command in LOCAL}
    codes = {command.split(" --")[0]: result.returncode for command, result in done.items()}
    assert codes == {
        "trivium certify mine.py:by_entropy": 1,
        "trivium certify mine.py:shared": 0,
        "trivium replay by_entropy.json": 0,
        "trivium verify shared.json": 0,
    }
    outputs = {command.split()[2]: result.stdout for command, result in done.items()}
    assert "VIOLATED" in outputs["mine.py:by_entropy"]
    assert "1 PROVED, 3 VERIFIED" in outputs["mine.py:shared"]
    assert "VIOLATED" not in outputs["mine.py:shared"]


def test_the_scheme_prints_its_formula(tmp_path: Path) -> None:
    (tmp_path / "scheme.py").write_text(PYTHON[1], encoding="utf-8")
    done = subprocess.run([sys.executable, "scheme.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert "w = project(" in done.stdout


def test_the_recipe_that_is_printed_is_one_that_is_read(tmp_path: Path) -> None:
    done = run("trivium recipe", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "scheme:" in done.stdout
    (tmp_path / "recipe.yaml").write_text(done.stdout, encoding="utf-8")
    certified = run("trivium certify recipe.yaml", tmp_path)
    assert "is not a valid recipe" not in certified.stderr
    assert certified.returncode in (0, 1), certified.stderr
