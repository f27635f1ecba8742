"""The demo, cut down to seconds: everything it promises to leave is there, and it overwrites nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import trivium.training.recipe as recipes
from trivium.cli import app

pytestmark = pytest.mark.deep

RUNS = ("single", "uniform", "full", "fitted", "oracle")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    load = recipes.load_recipe

    def small(path: str | Path) -> recipes.Recipe:
        recipe = load(path)
        data = recipe.data.model_copy(update={"train_rows": 6, "evaluation_rows": 2, "test_rows": 4})
        return recipe.model_copy(update={"data": data})

    out = tmp_path_factory.mktemp("demo") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "load_recipe", small)
        arguments = ["demo", "--out", str(out), "--steps", "3", "--threads", "1"]
        first = CliRunner().invoke(app, arguments)
        second = CliRunner().invoke(app, arguments)
    return out, first, second


def test_it_leaves_what_it_promises(demo: tuple[Path, Any, Any]) -> None:
    out, first, _ = demo
    assert first.exit_code == 0, first.output
    for name in ("report.html", "certificate.json", "metrics.jsonl", "recipe.yaml", "comparison.json", "sample.json"):
        assert (out / name).stat().st_size > 0, name
    assert not (out / "cache").exists()
    assert not list(out.glob("*/checkpoint-*"))
    from transformers import AutoModelForCausalLM

    assert AutoModelForCausalLM.from_pretrained(out / "student").config.vocab_size == 1024


def test_it_compares_five_runs_at_equal_mass_and_steps(demo: tuple[Path, Any, Any]) -> None:
    out, first, _ = demo
    comparison = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert {(row["name"], row["what"]) for row in comparison["rows"]} == {
        (name, what) for name in RUNS for what in ("mixture", "student")
    }
    recipes_as_run = [recipes.load_recipe(out / name / "recipe.yaml") for name in RUNS]
    assert (
        len({(r.loss.model_dump_json(), r.train.model_dump_json(), r.data.model_dump_json()) for r in recipes_as_run})
        == 1
    )
    # Equal initial weights: every student was evaluated before its first step.
    starts = [
        json.loads((out / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])["mean"] for name in RUNS
    ]
    assert len(set(starts)) == 1
    for label in ("uniform weights", "scheme set by hand", "fitted scheme", "oracle"):
        assert label in first.output


def test_its_scheme_is_proved_and_its_run_is_in_the_certificate(demo: tuple[Path, Any, Any]) -> None:
    out, _, _ = demo
    certificate = json.loads((out / "certificate.json").read_text(encoding="utf-8"))
    assert {result["verdict"] for result in certificate["results"]} == {"PROVED"}
    assert certificate["run"]["steps"] == 3
    verified = CliRunner().invoke(app, ["verify", str(out / "certificate.json")])
    assert verified.exit_code == 0, verified.output


def test_its_report_shows_what_could_be_gained_and_what_guarantees_cost(demo: tuple[Path, Any, Any]) -> None:
    """The scheme that runs is the one that `trivium fit` wrote, and the record of that fit is of this very scheme."""
    out, _, _ = demo
    page = (out / "report.html").read_text(encoding="utf-8")
    for part in ("What any weighting could gain", "can gain at most", "The fitted strengths", "fitted-costs"):
        assert part in page, part
    record = json.loads((out / "fit.json").read_text(encoding="utf-8"))
    ran = recipes.load_recipe(out / "recipe.yaml").scheme
    assert recipes.SchemeSection.model_validate(record["scheme"]) == ran
    room = json.loads((out / "headroom.json").read_text(encoding="utf-8"))
    assert all(bound["duality_gap"] < 1e-6 for bound in room["bounds"].values())


def test_it_overwrites_nothing(demo: tuple[Path, Any, Any]) -> None:
    _, _, second = demo
    assert second.exit_code == 2
