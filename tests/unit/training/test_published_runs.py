"""Rules from papers in a run: what breaks an axiom stops it, or is recorded, or repaired; what conforms just trains."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tiers import first
from tiny_world import World
from trivium.errors import AxiomViolation
from trivium.training.recipe import Recipe
from trivium.training.run import PreparedRun, distill
from trivium.training.trace import read_trace

ROUTE = {"map": {"sums": "sums", "tales": "tales"}}
BROKEN: dict[str, tuple[str, dict[str, Any], str]] = {
    "mopd": ("context", ROUTE, "W-P"),
    "min_ce": ("context", {}, "W-P"),
}
CONFORMING: dict[str, tuple[str, dict[str, Any]]] = {
    "ebkd": ("token", {"normalized": True, "smoothing": 1.0}),
    "ca_mkd": ("token", {"stable": True}),
    "nemo_rl": ("token", {"score_by": "max_prob"}),
    "hardness": ("token", {}),
    "scores": ("token", {"weights": {"entropy": -1.0, "gap": 1.0}, "budget": 2.0}),
    "avg_ce": ("context", {}),
}


def recipe_of(world: World, scale: str, rule: str, options: dict[str, Any], **changes: Any) -> Recipe:
    scheme: dict[str, Any] = {"token": [], "task": [], "context": [], "budget": None, "floor": 0.0, "cap": 1.0}
    scheme[scale] = [{"rule": rule, "options": options}]
    return world.recipe(name=rule, scheme=scheme, train={"steps": 2, "log_every": 1}, **changes)


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_trace(folder / "metrics.jsonl") if row["kind"] == "step"]


@pytest.mark.parametrize("rule", first(BROKEN))
@pytest.mark.parametrize("pool", ["linear", "log"])
def test_a_rule_with_zeros_stops_a_run_unless_that_is_recorded(
    world: World, prepared_run: PreparedRun, tmp_path: Path, rule: str, pool: str
) -> None:
    scale, options, axiom = BROKEN[rule]
    with pytest.raises(AxiomViolation, match=axiom):
        distill(recipe_of(world, scale, rule, options), prepared_run, tmp_path / "raised")
    recorded = recipe_of(world, scale, rule, options, monitor={"on_violation": "record"}, loss={"pool": pool})
    distill(recorded, prepared_run, tmp_path / "recorded")
    assert len(losses(tmp_path / "recorded")) == 2
    assert all(map(math.isfinite, losses(tmp_path / "recorded")))
    rows = list(read_trace(tmp_path / "recorded" / "metrics.jsonl"))
    assert axiom in {row["axiom"] for row in rows if row["kind"] == "violation"}


def test_weights_that_sum_to_more_than_one_stop_a_run(world: World, prepared_run: PreparedRun, tmp_path: Path) -> None:
    # With two teachers 1 − H/ΣH sums to one: W-N breaks for K = 3 alone, and at ΣH = 0.
    three = [{"name": name, "model": name} for name in ("sums", "tales", "both")]
    recipe = recipe_of(world, "token", "ebkd", {}, teachers=three)
    with pytest.raises(AxiomViolation, match="W-N"):
        distill(recipe, world.prepared_run(recipe), tmp_path / "run")


@pytest.mark.parametrize("rule", first(CONFORMING, 2))
def test_a_conforming_form_trains(world: World, prepared_run: PreparedRun, tmp_path: Path, rule: str) -> None:
    scale, options = CONFORMING[rule]
    distill(recipe_of(world, scale, rule, options), prepared_run, tmp_path / "run")
    assert len(losses(tmp_path / "run")) == 2
    assert all(map(math.isfinite, losses(tmp_path / "run")))
