"""``repair`` is the conforming projection: of the rows that count, alone, and of every batch a student learns from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reference.log_weights import scores
from reference.projection import nearest_conforming, objective
from tiny_world import TEACHERS, World
from trivium.simplex.conforming import ConformingSet
from trivium.simplex.geometry import hilbert
from trivium.simplex.order import Order
from trivium.simplex.projection import conforming_projection
from trivium.training import distiller
from trivium.training.monitor import Monitor, MonitoredBounds
from trivium.training.recipe import Recipe
from trivium.training.run import distill
from trivium.training.step import StepOutput
from trivium.training.trace import read_trace

B, T, K = 2, 3, 3
#: What the monitor asks for, here and of the runs below; feasible, and no rule here keeps it.
FLOOR, CAP, ORDER = 0.15, 0.6, "both > tales > sums"
ASKED = ConformingSet(K, FLOOR, CAP, Order.parse(ORDER, TEACHERS))
BATCHES = st.tuples(
    st.lists(scores(K, zeros=True), min_size=B * T, max_size=B * T),
    st.lists(st.booleans(), min_size=B * T, max_size=B * T),
    st.sampled_from([torch.float32, torch.float64]),
)


@given(BATCHES)
def test_rows_that_count_are_projected_each_by_itself_and_others_stay_as_they_are(
    case: tuple[list[list[float]], list[bool], torch.dtype],
) -> None:
    values, counted, dtype = case
    weights = torch.tensor(values, dtype=dtype).reshape(B, T, K)
    mask = torch.tensor(counted).reshape(B, T)
    kept = weights.clone()
    watch = Monitor(MonitoredBounds(ASKED), "repair")
    repaired = watch.watch(weights, mask)
    assert torch.equal(weights, kept)  # what was given is not written into
    assert repaired.dtype is dtype
    assert torch.equal(repaired[~mask], weights[~mask])
    if not watch.take_violations():
        assert repaired is weights
        return
    for b, t in mask.nonzero().tolist():
        alone = conforming_projection(weights[b, t], ASKED)
        assert hilbert(repaired[b, t], alone) <= 64 * torch.finfo(dtype).eps * (1 + alone.abs().max())
        assert ASKED.contains(repaired[b, t])
    again = Monitor(MonitoredBounds(ASKED), "raise")
    assert again.watch(repaired, mask) is repaired


def test_a_repair_is_the_nearest_point_that_a_general_solver_finds() -> None:
    weights = torch.log_softmax(2 * torch.randn(B, T, K, dtype=torch.float64), dim=-1)
    mask = torch.tensor([[True, True, False], [True, False, True]])
    repaired = Monitor(MonitoredBounds(ASKED), "repair").watch(weights, mask)
    assert ASKED.order is not None
    for b, t in mask.nonzero().tolist():
        w, y = weights[b, t].exp().tolist(), repaired[b, t].exp().numpy()
        nearest = nearest_conforming(w, FLOOR, CAP, ASKED.order.tiers)
        # The solver's gap is 1e-10; around the minimum KL grows with the square of the distance.
        assert y == pytest.approx(nearest, abs=1e-5)
        assert objective(y, w) <= objective(nearest, w) + 1e-8
        assert bool(ASKED.contains(repaired[b, t]))


RULE = """
import torch, trivium as tv

@tv.rule(scale="token", features={"entropy": (0.0, 12.0)})
def greedy(entropy):
    return 1.1 * torch.softmax(-4.0 * entropy, dim=-1)
"""


def recipe(world: World, action: str) -> Recipe:
    (world.folder / "greedy.py").write_text(RULE, encoding="utf-8")
    scheme: dict[str, Any] = {"token": [{"rule": "greedy.py:greedy"}], "task": [], "context": [], "budget": None}
    return world.recipe(
        teachers=[{"name": name, "model": name} for name in TEACHERS],
        scheme=scheme | {"floor": 0.0, "cap": 1.0},
        monitor={"on_violation": action, "floor": FLOOR, "cap": CAP, "order": ORDER},
        train={"steps": 4, "log_every": 2, "accumulation": 2},
    )


def run(world: World, folder: Path, action: str, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Tensor], list[Any]]:
    """The weights [N, K] of every batch that counted in the loss, and the trace."""
    used: list[Tensor] = []
    step = distiller.distillation_step

    def spied(logits: Tensor, batch: Any, *rest: Any) -> StepOutput:
        output = step(logits, batch, *rest)
        used.append(output.log_weights[batch.mask].clone())
        return output

    monkeypatch.setattr(distiller, "distillation_step", spied)
    asked = recipe(world, action)
    distill(asked, world.prepared_run(asked), folder)
    return used, read_trace(folder / "metrics.jsonl")


def test_every_batch_of_a_repaired_run_keeps_the_bounds_and_the_trace_shows_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, rows = run(world, tmp_path / "run", "repair", monkeypatch)
    assert len(used) == 8
    assert all(bool(ASKED.contains(weights).all()) for weights in used)
    steps = [row for row in rows if row["kind"] == "step"]
    assert len(steps) == 2
    for row in steps:
        share = row["share"]["all"]
        assert sum(share.values()) == pytest.approx(1.0, abs=1e-6)
        assert FLOOR - 1e-6 <= min(share.values()) <= max(share.values()) <= CAP + 1e-6
        assert share["both"] >= share["tales"] - 1e-6 >= share["sums"] - 2e-6
        assert row["influence"]["all"] <= math.log(CAP / FLOOR) + 1e-6
        # The residuals are those of the weights that came, before the repair.
        assert min(row["axioms"][axiom] for axiom in ("W-N", "W-B", "W-S")) > 0.05
    seen = {(row["step"], row["axiom"]) for row in rows if row["kind"] == "violation"}
    assert seen == {(step, axiom) for step in (1, 2, 3, 4) for axiom in ("W-N", "W-B", "W-S")}


def test_a_recorded_run_does_not_keep_them(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used, rows = run(world, tmp_path / "run", "record", monkeypatch)
    assert not any(bool(ASKED.contains(weights).all()) for weights in used)
    assert all(row["influence"]["all"] > math.log(CAP / FLOOR) for row in rows if row["kind"] == "step")
