"""``trivium fit`` and ``trivium headroom`` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tiny_world import World
from trivium.cli import app


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def fitted(world: World) -> tuple[Path, Any]:
    recipe = world.write("recipe.yaml", data={"evaluation_rows": 8}, cache={"folder": "cache"})
    out = world.folder / "elsewhere" / "fit"
    found = run("fit", recipe, "--out", out, "--features", "entropy,margin,recent_log_prob_90", "--penalty", "0.01")
    return out, found


def test_fit_says_what_it_found_and_is_proved(fitted: tuple[Path, Any]) -> None:
    out, found = fitted
    assert found.exit_code == 0, found.output
    for part in ("5 PROVED", "fitted strengths", "recent_log_prob_90", "on test documents that were not fitted"):
        assert part in found.output
    data = json.loads((out / "fit.json").read_text(encoding="utf-8"))
    assert data["judged"] == "test"
    assert {row["what"] for row in data["strengths"]} >= {"entropy", "margin", "recent_log_prob_90", "sums, tales"}
    assert data["headroom"]["rules"]["fitted"]["all"]["mean"] == pytest.approx(data["gain"]["all"]["mean"])
    certificate = json.loads((out / "certificate.json").read_text(encoding="utf-8"))
    assert {result["verdict"] for result in certificate["results"]} == {"PROVED"}
    strength = next(row["value"] for row in data["strengths"] if row["what"] == "entropy")
    assert f"{abs(strength):g}·entropy" in (out / "certificate.json").read_text(encoding="utf-8")


@pytest.mark.deep
def test_the_recipe_runs_from_where_it_was_written(fitted: tuple[Path, Any], tmp_path: Path) -> None:
    out, _ = fitted
    done = run("distill", out / "fitted.yaml", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "run" / "student").is_dir()
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "What any weighting could gain" in page
    assert "fitted-costs" in page


@pytest.mark.deep
def test_a_fitted_number_edited_by_hand_is_refused_by_verify(fitted: tuple[Path, Any]) -> None:
    out, _ = fitted
    assert run("verify", out / "certificate.json").exit_code == 0
    path = out / "fitted.yaml"
    kept = path.read_text(encoding="utf-8")
    content = yaml.safe_load(kept)
    content["scheme"]["token"][0]["options"]["strengths"]["entropy"] *= 1.01
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    try:
        assert run("verify", out / "certificate.json").exit_code == 1
        assert "is of another scheme" in run("rules", path).output
    finally:
        path.write_text(kept, encoding="utf-8")


def test_rules_prints_the_strengths_of_a_recipe(fitted: tuple[Path, Any]) -> None:
    """Strengths that only the certificate's formula showed, without what they are sure to."""
    out, _ = fitted
    found = run("rules", out / "fitted.yaml")
    assert found.exit_code == 0, found.output
    rows = json.loads((out / "fit.json").read_text(encoding="utf-8"))["strengths"]
    row = next(row for row in rows if row["what"] == "entropy")
    assert f"{row['value']:+.4g}" in found.output
    assert run("rules", out / "fitted.yaml", "--check").exit_code == 2


def test_a_fit_is_not_overwritten_and_options_are_checked(world: World, fitted: tuple[Path, Any]) -> None:
    out, _ = fitted
    recipe = world.folder / "recipe.yaml"
    again = run("fit", recipe, "--out", out)
    assert (again.exit_code, "overwrite" in again.output) == (2, True)
    nothing = run("fit", recipe, "--out", world.folder / "x", "--features", ",")
    assert (nothing.exit_code, "--features" in nothing.output) == (2, True)
    unknown = run("fit", recipe, "--out", world.folder / "y", "--features", "gap")
    assert (unknown.exit_code, "'gap'" in unknown.output) == (2, True)
    none = run("fit", recipe, "--out", world.folder / "z", "--budget", "0")
    assert (none.exit_code, "--budget" in none.output) == (2, True)


def test_headroom_stands_beside_the_recipes_rules(world: World, fitted: tuple[Path, Any], tmp_path: Path) -> None:
    found = run("headroom", world.folder / "recipe.yaml", "--out", tmp_path / "room")
    assert found.exit_code == 0, found.output
    for part in ("everything", "document", "its token scale", "how the teachers differ", "can gain at most"):
        assert part in found.output
    data = json.loads((tmp_path / "room" / "headroom.json").read_text(encoding="utf-8"))
    assert data["split"] == "test"
    assert all(bound["duality_gap"] < 1e-6 for bound in data["bounds"].values())
