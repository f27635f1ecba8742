"""``trivium tune --resume`` goes on with the search that was begun, and with no other.

Each change below once went on, mixing values of two worlds in one journal: what is beside a rule's, teacher's or
student's own file was no part of a search's identity, nor the weights that a student begins with.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tiny_examples import ExamplesWorld
from tiny_search import Formula, run_search
from tiny_world import World, make_model
from trivium.cli import app, tune
from trivium.errors import InputError
from trivium.training.checkpoints import alone
from trivium.tuning.mixture import MixtureObjective
from trivium.tuning.space import Space

RULE = """
import pathlib

import trivium as tv
from sign import SIGN

HERE = pathlib.Path(__file__).parent


@tv.rule(scale="token", features=["entropy"])
def mine(entropy):
    return (SIGN * float((HERE / "size.txt").read_text()) * entropy).softmax(-1)
"""
TEACHER = """
import json
import pathlib

import torch

HERE = pathlib.Path(__file__).parent


def teacher():
    return lambda x: x @ torch.tensor(json.loads((HERE / "weights.json").read_text()))
"""
STUDENT = "import torch\nfrom sizes import HIDDEN\n\n\ndef student():\n    return torch.nn.Sequential("
STUDENT += "torch.nn.Linear(4, HIDDEN), torch.nn.Linear(HIDDEN, 3))\n"


def run(recipe: Path, out: Path, *options: str) -> Result:
    asked = ["tune", str(recipe), "--out", str(out), "--trials", "2", *options]
    return CliRunner().invoke(app, asked, env={"COLUMNS": "300"}, catch_exceptions=False)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "_certify", lambda folder, budget: False)
    monkeypatch.setattr("trivium.report.write._plotly", lambda: "/* plotly.js */")


def refused(done: Result, another: str) -> None:
    assert done.exit_code == 2, done.output
    assert done.stderr.strip().endswith(
        f"a resumed search must be the one begun; received another {another}. Name a new --out."
    )


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> ExamplesWorld:
    """Everything of a search is a user's own file that needs another one beside it."""
    world = ExamplesWorld(tmp_path_factory.mktemp("resumed"))
    beside = {"sign.py": "SIGN = 1.0\n", "size.txt": "1.0", "sizes.py": "HIDDEN = 5\n", "weights.json": weights(1.0)}
    for name, text in ({"rules.py": RULE, "teacher.py": TEACHER, "pupil.py": STUDENT} | beside).items():
        (world.folder / name).write_text(text, encoding="utf-8")
    return world


def weights(scale: float) -> str:
    return json.dumps([[scale * (row + 1) * (column - 1) for column in range(3)] for row in range(4)])


def content(world: ExamplesWorld) -> dict[str, Any]:
    found = world.one_task("size", scheme={"token": [{"rule": "rules.py:mine"}], "task": [], "budget": 4.0})
    found["teachers"][0] = {"name": "sizer", "model": "teacher.py:teacher"}
    found["student"] = {"model": "pupil.py:student"}
    return found


BESIDE = [
    ("sign.py", "SIGN = -1.0\n", "files (sign.py), answers of rules (1. mine, 2. mine)"),
    ("size.txt", "2.0", "answers of rules (1. mine, 2. mine)"),
    ("weights.json", weights(2.0), "teachers (sizer)"),
    ("sizes.py", "HIDDEN = 6\n", "files (sizes.py), student to begin with"),
]


@pytest.mark.deep
def test_what_is_beside_a_users_file_is_a_part_of_a_search(points: ExamplesWorld, tmp_path: Path) -> None:
    recipe, out = points.write("beside.yaml", content(points)), tmp_path / "out"
    asked = ("--objective", "student", "--steps", "2")
    assert run(recipe, out, *asked).exit_code == 0
    before = {name: (out / name).read_text(encoding="utf-8") for name in ("trials.jsonl", "data.json", "tune.json")}
    for name, text, another in BESIDE:
        path = points.folder / name
        kept = path.read_text(encoding="utf-8")
        path.write_text(text, encoding="utf-8")
        try:
            refused(run(recipe, out, *asked, "--resume"), another)
        finally:
            path.write_text(kept, encoding="utf-8")
    for name, text in before.items():
        assert (out / name).read_text(encoding="utf-8") == text


def test_a_refused_search_leaves_the_record_of_the_one_that_was_begun(world: World, tmp_path: Path) -> None:
    recipe, out = world.write("table.yaml"), tmp_path / "out"
    assert run(recipe, out).exit_code == 0
    path = world.folder / "sums.validation.jsonl"
    kept, before = path.read_text(encoding="utf-8"), (out / "data.json").read_text(encoding="utf-8")
    path.write_text("\n".join(kept.splitlines()[:3]), encoding="utf-8")
    try:
        refused(run(recipe, out, "--resume"), "rows")
    finally:
        path.write_text(kept, encoding="utf-8")
    assert (out / "data.json").read_text(encoding="utf-8") == before


@pytest.mark.deep
def test_what_a_student_begins_with_and_its_precision_are_a_part_of_a_search(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_model("pupil", make_model(world.tokenizer, 11))
    recipe = world.write("pupil.yaml", student={"model": "pupil", "config": None})
    asked = ("--objective", "student", "--steps", "2")
    assert run(recipe, tmp_path / "out", *asked).exit_code == 0
    world.add_model("pupil", make_model(world.tokenizer, 12))
    refused(run(recipe, tmp_path / "out", *asked, "--resume"), "student to begin with")
    world.add_model("pupil", make_model(world.tokenizer, 11))
    with monkeypatch.context() as patch:  # as on a machine where `precision: auto` means it
        patch.setattr("trivium.tuning.storage.in_bfloat16", lambda precision: True)
        refused(run(recipe, tmp_path / "out", *asked, "--resume"), "student to begin with")


def test_two_searches_in_one_folder_do_not_meet(space: Space, tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(InputError, match="must have its folder to itself"):
        run_search(space, tmp_path, 2)
    assert len(run_search(space, tmp_path, 2)) == 2


def test_students_whose_journal_was_taken_away_are_not_kept(space: Space, tmp_path: Path) -> None:
    """Another recipe's students have the same names as this one's where the schemes are the same."""

    class Keeps(Formula):
        def __init__(self) -> None:
            super().__init__()
            self.told: list[tuple[int, int]] = []

        def keep(self, sections: list[Any]) -> None:
            self.told.append((len(self.asked), len(sections)))

    first, second = Keeps(), Keeps()
    run_search(space, tmp_path, 3, first)
    assert first.told[0] == (0, 0)
    run_search(space, tmp_path, 4, second, resume=True)
    assert (0, 0) not in second.told  # it goes on: what is there is its own


def test_a_search_that_goes_on_under_other_releases_says_so(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_search(space, tmp_path, 2)
    monkeypatch.setattr("trivium.tuning.storage.versions", lambda: {"torch": "0.1"})
    lines: list[str] = []
    run_search(space, tmp_path, 3, resume=True, progress=lambda line, done, total: lines.append(line))
    assert any("begun with other releases (torch" in line and "0.1 now" in line for line in lines)


@pytest.mark.parametrize("content", ["garbage\n", '{"op_code": 0}\n', "[]\n"])
def test_a_journal_that_is_none_is_one_line(space: Space, tmp_path: Path, content: str) -> None:
    (tmp_path / "study.journal").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"study\.journal must be as it was written"):
        run_search(space, tmp_path, 2, resume=True)


@pytest.mark.deep
def test_a_file_that_is_edited_while_a_search_runs_ends_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules are loaded anew for each trial: one journal held the trials of two rules."""
    rule = "import trivium as tv\n\n\n@tv.rule(scale='token', features=['entropy'])\ndef mine(entropy):\n    return "
    path = world.folder / "edited.py"
    path.write_text(rule + "(-entropy).softmax(-1)\n", encoding="utf-8")
    recipe = world.write("edited.yaml", scheme={"token": [{"rule": "edited.py:mine", "budget": 1.0}]})
    proper, judged = MixtureObjective.value, []

    def value(self: MixtureObjective, *arguments: Any) -> float:
        judged.append(1)
        if len(judged) == 2:
            path.write_text(rule + "(+entropy).softmax(-1)\n", encoding="utf-8")
        return proper(self, *arguments)

    monkeypatch.setattr(MixtureObjective, "value", value)
    done = run(recipe, tmp_path / "out")
    assert done.exit_code == 2, done.output
    assert "must stay as they are while it runs; received edited.py, which changed" in done.stderr
    assert len((tmp_path / "out" / "trials.jsonl").read_text(encoding="utf-8").splitlines()) == 1
    path.write_text(rule + "(-entropy).softmax(-1)\n", encoding="utf-8")
    assert run(recipe, tmp_path / "out", "--resume").exit_code == 0
