"""A run from Python leaves what the command leaves, bit by bit, from a file or from a recipe made there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import trivium as tv
from tiny_world import World, weights_of
from trivium.cli import app
from trivium.errors import InputError


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.mark.deep
def test_a_run_from_python_is_the_run_of_the_command(world: World, tmp_path: Path) -> None:
    path = world.write("recipe.yaml")
    result = CliRunner().invoke(app, ["distill", str(path), "--out", str(tmp_path / "command")])
    assert result.exit_code == 0
    assert str(tv.load_recipe(path)) == (tmp_path / "command" / "recipe.yaml").read_text(encoding="utf-8")
    seen: list[int] = []
    found = tv.distill(
        path, tmp_path / "python", prepared=lambda prepared_run: seen.append(len(prepared_run.tables.train))
    )
    made = tv.distill(tv.load_recipe(path), tmp_path / "object", base=world.folder)
    students = [weights_of(tmp_path / name / "student") for name in ("command", "python", "object")]
    assert all(torch.equal(students[0][name], other[name]) for other in students for name in students[0])
    kept = [{p.name for p in (tmp_path / name).iterdir()} for name in ("command", "python", "object")]
    assert kept[0] == kept[1] == kept[2]
    assert seen == [48]
    assert isinstance(found, tv.Distilled)
    assert found.folder == tmp_path / "python"
    last = [json.loads(line) for line in (found.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert found.shares == next(line for line in reversed(last) if line["kind"] == "step")["share"]["all"]
    assert found.certificate is not None
    assert not found.certificate.violated
    assert set(found.scores) == {"student", "mixture", "sums", "tales"}
    assert found.scores["student"] == pytest.approx(made.scores["student"])
    page = str(found)
    assert f"student: {found.folder / 'student'}" in page
    assert "held-out bits per byte: student " in page
    assert "W-N PROVED" in page
    with pytest.raises(InputError, match="a run must not overwrite another"):
        tv.distill(path, tmp_path / "python")
    with pytest.raises(InputError, match="a run must have a recipe; received int"):
        tv.distill(3)  # type: ignore[arg-type]


def test_a_seed_in_place_of_the_recipes(world: World, tmp_path: Path) -> None:
    path = world.write("recipe.yaml")
    first = tv.distill(path, tmp_path / "a", seed=5)
    assert tv.load_recipe(first.folder / "recipe.yaml").train.seed == 5
