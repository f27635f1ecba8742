"""What a kill at any instant leaves: a trace with whole lines, and only checkpoints that are complete."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tiny_world import World
from trivium.errors import InputError
from trivium.store.identity import Identity
from trivium.training.checkpoints import (
    alone,
    claim,
    latest_complete,
    mark_complete,
    refuse_overwrite,
    require_same,
    step_of,
)
from trivium.training.recipe import load_recipe
from trivium.training.trace import TraceWriter, read_trace


def written(path: Path, *steps: int) -> TraceWriter:
    trace = TraceWriter(path, None)
    for step in steps:
        trace.write("step", step, loss=1.0)
    return trace


def test_a_trace_is_one_object_a_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    trace = TraceWriter(path, None)
    trace.write("step", 1, loss=1 / 3, share={"all": {"ä": 0.5}}, odd=float("nan"), many=[float("inf"), 2])
    trace.write("eval", 1, mean=2.0)
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [
        {"kind": "step", "step": 1, "loss": 0.3333333, "share": {"all": {"ä": 0.5}}, "odd": None, "many": [None, 2]},
        {"kind": "eval", "step": 1, "mean": 2.0},
    ]


def test_resuming_cuts_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    written(path, 0, 2, 4, 6)
    trace = TraceWriter(path, 4)
    trace.write("step", 6, loss=9.0)
    assert [row["step"] for row in read_trace(path)] == [0, 2, 4, 6]
    assert read_trace(path)[-1]["loss"] == 9.0
    assert list(tmp_path.iterdir()) == [path]


def test_beginning_empties_and_resuming_without_a_trace_begins_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    written(path, 0, 2)
    TraceWriter(path, None)
    assert read_trace(path) == []
    path.unlink()
    TraceWriter(path, 4)
    assert read_trace(path) == []


@pytest.mark.parametrize("tail", ['{"kind": "step", "st', '{"kind": "step", "step": 6, "loss": 1.', "{"])
def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path, tail: str) -> None:
    path = tmp_path / "metrics.jsonl"
    written(path, 2, 4)
    with path.open("a", encoding="utf-8") as file:
        file.write(tail)
    assert [row["step"] for row in read_trace(path)] == [2, 4]
    TraceWriter(path, 4).write("step", 6)
    assert [row["step"] for row in read_trace(path)] == [2, 4, 6]


def test_another_process_joins_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    written(path, 2)
    TraceWriter(path, None, join=True).write("violation", 3)
    assert [row["step"] for row in read_trace(path)] == [2, 3]


def checkpoint(folder: Path, step: int, complete: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_text("weights", encoding="utf-8")
    if complete:
        mark_complete(path)
    return path


def test_the_newest_complete_checkpoint_is_taken_and_incomplete_ones_are_removed(tmp_path: Path) -> None:
    assert latest_complete(tmp_path) is None
    ninth, tenth = checkpoint(tmp_path, 9), checkpoint(tmp_path, 10)  # by number, not by name
    cut_off = checkpoint(tmp_path, 11, complete=False)
    found = latest_complete(tmp_path)
    assert found == tenth
    assert step_of(tenth) == 10
    assert ninth.exists()
    assert not cut_off.exists()


def test_only_incomplete_checkpoints_are_none(tmp_path: Path) -> None:
    checkpoint(tmp_path, 4, complete=False)
    assert latest_complete(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_changed_since_is_not_gone_on_from(tmp_path: Path) -> None:
    """Each ended in an exception of whatever library opened the file first, or went on with what was left."""
    first, second = checkpoint(tmp_path, 4), checkpoint(tmp_path, 8)
    weights = second / "model.safetensors"
    weights.write_text("weig", encoding="utf-8")
    said = r"checkpoint-8 must be as it was written; received model\.safetensors: 4 of 7 bytes\. Remove .*checkpoint-8,"
    with pytest.raises(InputError, match=said):
        latest_complete(tmp_path)
    weights.unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: none of 7 bytes"):
        latest_complete(tmp_path)
    weights.write_text("weights", encoding="utf-8")
    assert latest_complete(tmp_path) == second
    (second / "complete").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="complete must be as it was written"):
        latest_complete(tmp_path)
    shutil.rmtree(second)
    assert latest_complete(tmp_path) == first


def test_what_the_trainer_did_not_write_is_left_alone(tmp_path: Path) -> None:
    kept = checkpoint(tmp_path, 4)
    (tmp_path / "checkpoint-9").write_text("a file", encoding="utf-8")
    checkpoint(tmp_path, 0).rename(tmp_path / "checkpoint-mine")
    assert latest_complete(tmp_path) == kept
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-4", "checkpoint-9", "checkpoint-mine"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"recipe": "a", "libraries": [1]}', '{"recipe": 1, "recipe": 2}'])
def test_an_identity_that_is_none_is_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"identity\.json must be as it was written"):
        require_same(tmp_path, IDENTITY)


IDENTITY = Identity({"recipe": "a", "teachers": {"sums": "b", "tales": "c"}, "data": {"train": "d"}})


def changed(**parts: Any) -> Identity:
    return Identity({**IDENTITY.parts, **parts})


def test_a_claimed_folder_holds_the_recipe_as_run(world: World, tmp_path: Path) -> None:
    recipe = world.recipe()
    claim(tmp_path / "run", recipe, IDENTITY, resume=False)
    assert load_recipe(tmp_path / "run" / "recipe.yaml") == recipe
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["identity.json", "recipe.yaml"]
    assert claim(tmp_path / "run", recipe, IDENTITY, resume=True) is None
    claim(tmp_path / "new", recipe, IDENTITY, resume=True)  # nothing there yet: begin


def test_a_run_does_not_overwrite_another(world: World, tmp_path: Path) -> None:
    refuse_overwrite(tmp_path, resume=False)
    claim(tmp_path, world.recipe(), IDENTITY, resume=False)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    refuse_overwrite(tmp_path, resume=True)
    with pytest.raises(InputError, match=r"must not overwrite another.*Add --resume"):
        refuse_overwrite(tmp_path, resume=False)
    with pytest.raises(InputError, match="must not overwrite another"):
        claim(tmp_path, world.recipe(name="other"), IDENTITY, resume=False)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (changed(recipe="b"), r"another recipe\."),
        (changed(teachers={"sums": "c", "tales": "b"}), r"another teachers \(sums, tales\)\."),
        (changed(teachers={"sums": "b"}), r"another teachers \(tales\)\."),
        (changed(data={"train": "e"}, recipe="b"), r"another data \(train\), recipe\."),
        (changed(processes=2), r"another number of processes\."),
    ],
)
def test_a_resumed_run_is_the_one_that_was_begun(world: World, now: Identity, said: str, tmp_path: Path) -> None:
    claim(tmp_path, world.recipe(), IDENTITY, resume=False)
    with pytest.raises(InputError, match=f"must be the one that was begun; received {said}"):
        claim(tmp_path, world.recipe(), now, resume=True)
    with pytest.raises(InputError, match=said):
        require_same(tmp_path, now)


def test_other_releases_are_told_and_not_refused(world: World, tmp_path: Path) -> None:
    claim(tmp_path, world.recipe(), IDENTITY, resume=False)
    path = tmp_path / "identity.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    written["libraries"]["torch"] = "1.0"
    path.write_text(json.dumps(written), encoding="utf-8")
    note = claim(tmp_path, world.recipe(), IDENTITY, resume=True)
    assert note is not None
    assert note.startswith("begun with other releases (torch 1.0 then, ")


def test_a_folder_serves_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        alone(tmp_path),
        pytest.raises(InputError, match=r"have its folder to itself; received .*another is at work"),
        alone(tmp_path),
    ):
        pass
    with alone(tmp_path):
        pass
