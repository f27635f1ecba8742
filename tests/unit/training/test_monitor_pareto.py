"""W-C watched while a scheme reads gradients: judged, recorded or raised, and shown where the other axioms are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reference.gradients import gram as plain_gram
from reference.gradients import mean_gradients
from tiny_world import World
from trivium.certification.page import run_lines
from trivium.certification.run import read_run
from trivium.errors import AxiomViolation, InputError
from trivium.scheme import compose
from trivium.simplex.conforming import ConformingSet
from trivium.training.collect import Batch, collect_features
from trivium.training.evaluate import is_predictor
from trivium.training.monitor import Monitor, MonitoredBounds
from trivium.training.recipe import LossSection, parse_recipe
from trivium.training.run import distill
from trivium.training.step import distillation_step
from trivium.training.trace import read_trace
from trivium.weighting import AEKD, Entropy, Static, TorchJD

OPPOSED = torch.tensor([[1.0, -0.5], [-0.5, 0.25]])  # g = 1 and −½
MASK = torch.tensor([[True, True, False]])


def monitor(pareto: Any = "record") -> Monitor:
    return Monitor(MonitoredBounds(ConformingSet(2)), "raise", pareto)


def weights(*rows: list[float]) -> Tensor:
    return torch.tensor([list(rows)]).log()


def batch(positions: int = 4, vocabulary: int = 6, seed: int = 0) -> tuple[Batch, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(vocabulary, (2, positions), generator=generator)
    labels[0, -1] = -100
    teachers = [4 * torch.randn(2, positions, vocabulary, generator=generator) for _ in range(2)]
    student = torch.randn(2, positions, vocabulary, generator=generator)
    zero = torch.zeros(2, dtype=torch.long)
    return Batch(labels, teachers, zero, zero, {}), student


def test_the_residual_is_that_of_the_mean_weights() -> None:
    watch = monitor()
    watch.watch_gradients(weights([0.9, 0.1], [0.5, 0.5], [0.01, 0.99]), MASK, OPPOSED.flatten().view(1, 1, 4))
    w = (0.7, 0.3)  # the mean of the two positions that count
    expected = -min(w[0] * 1.0 - w[1] * 0.5, -w[0] * 0.5 + w[1] * 0.25)
    assert watch.take_worst() == {"W-C": pytest.approx(expected)}
    (seen,) = watch.take_violations()
    assert seen == {"axiom": "W-C", "residual": pytest.approx(expected), "action": "recorded"}


def test_weights_that_balance_break_nothing() -> None:
    watch = monitor("raise")
    watch.watch_gradients(weights([1 / 3, 2 / 3], [1 / 3, 2 / 3], [0.5, 0.5]), MASK, OPPOSED.view(1, 1, 4))
    assert watch.take_violations() == []
    assert abs(watch.take_worst()["W-C"]) < 1e-7


def test_tiny_gradients_are_judged_by_their_own_scale() -> None:
    watch = monitor()
    watch.watch_gradients(weights([0.9, 0.1], [0.9, 0.1], [0.5, 0.5]), MASK, 1e-12 * OPPOSED.view(1, 1, 4))
    assert len(watch.take_violations()) == 1


def test_it_raises_or_is_off_as_the_recipe_says() -> None:
    with pytest.raises(AxiomViolation, match="W-C"):
        monitor("raise").watch_gradients(weights([0.9, 0.1], [0.9, 0.1], [0.5, 0.5]), MASK, OPPOSED.view(1, 1, 4))
    off = monitor("off")
    off.watch_gradients(weights([0.9, 0.1], [0.9, 0.1], [0.5, 0.5]), MASK, OPPOSED.view(1, 1, 4))
    assert (off.take_worst(), off.take_violations()) == ({}, [])
    watch = monitor("raise")
    watch.watch_gradients(weights([0.9, 0.1], [0.9, 0.1], [0.5, 0.5]), torch.zeros_like(MASK), OPPOSED.view(1, 1, 4))
    assert watch.take_worst() == {}


def test_a_bare_off_in_yaml_means_off(world: World) -> None:
    content = world.content(monitor={"pareto": False})
    assert parse_recipe(content).monitor.pareto == "off"
    assert parse_recipe(world.content()).monitor.pareto == "record"
    for wrong in ("repair", True):
        with pytest.raises(InputError, match=r"monitor\.pareto"):
            parse_recipe(world.content(monitor={"pareto": wrong}))


def test_the_feature_is_one_matrix_for_the_batch() -> None:
    data, student = batch()
    scheme = compose(["a", "b"], task=[AEKD()])
    found = collect_features(scheme, data, student, torch.zeros(1, 2))
    assert set(found) == {"gram"}
    flat = [z.flatten(0, 1).tolist() for z in data.teacher_logits]
    rows = mean_gradients(student.flatten(0, 1).tolist(), flat, data.mask.flatten().tolist())
    assert found["gram"].shape == (1, 1, 4)
    assert found["gram"].view(2, 2).tolist() == [pytest.approx(row, abs=1e-6) for row in plain_gram(rows)]
    with pytest.raises(InputError, match="student"):
        collect_features(scheme, data, None, torch.zeros(1, 2))


def test_it_stands_beside_rules_of_other_scales() -> None:
    data, student = batch()
    scheme = compose(["a", "b"], token=[Entropy(budget=1.0)], task=[AEKD(), Static((2.0, 1.0))], budget=2.0)
    features = collect_features(scheme, data, student, torch.zeros(1, 2))
    assert scheme.log_weights(features).shape == (2, 4, 2)
    assert {scale: w.shape[-1] for scale, w in scheme.by_scale(features).items()} == {"token": 2, "task": 2}


def test_a_scheme_that_reads_later_positions_is_no_predictor() -> None:
    assert not is_predictor(compose(["a", "b"], task=[AEKD()]))
    assert is_predictor(compose(["a", "b"], token=[Entropy()]))


def test_the_shortest_mean_passes_every_batch_and_a_budget_does_not() -> None:
    exact, bounded = compose(["a", "b"], task=[AEKD(cap=1.0)]), compose(["a", "b"], task=[AEKD(cap=1.0)], budget=0.1)
    broken = 0
    for seed in range(20):
        data, student = batch(seed=seed)
        for scheme, watch in ((exact, monitor("raise")), (bounded, monitor())):
            if scheme is exact:  # a weight may be zero there, which W-P would refuse
                features = collect_features(scheme, data, student, torch.zeros(1, 2))
                w = scheme.log_weights(features).expand(2, 4, 2)
                watch.watch_gradients(w, data.mask, features["gram"])
                continue
            distillation_step(student.requires_grad_(), data, scheme, LossSection(), torch.zeros(1, 2), watch)
            broken += len(watch.take_violations())
    assert broken > 0


def test_it_is_in_the_trace_and_in_the_run_section(world: World, tmp_path: Path) -> None:
    scheme = {"token": [], "context": [], "task": [{"rule": "aekd"}], "budget": 0.5}
    recipe = world.recipe(name="pareto", scheme=scheme, train={"steps": 6})
    distill(recipe, world.prepared_run(recipe), tmp_path / "run")
    trace = read_trace(tmp_path / "run" / "metrics.jsonl")
    steps = [row for row in trace if row["kind"] == "step"]
    assert steps
    assert all("W-C" in row["axioms"] for row in steps)
    assert {row["axiom"] for row in trace if row["kind"] == "violation"} <= {"W-C"}
    section = read_run(tmp_path / "run")
    worst = max(row["axioms"]["W-C"] for row in steps)
    assert section.worst["W-C"] == pytest.approx(worst)
    assert any("W-C" in line for line in run_lines(section))
    assert "mixture" not in json.loads((tmp_path / "run" / "nats.json").read_text(encoding="utf-8"))


def test_a_run_with_torchjd_trains(world: World, tmp_path: Path) -> None:
    entry = {"rule": "torchjd", "options": {"method": "upgrad"}}
    recipe = world.recipe(
        name="up", scheme={"token": [], "context": [], "task": [entry], "budget": 2.0}, train={"steps": 2}
    )
    distill(recipe, world.prepared_run(recipe), tmp_path / "run")
    assert TorchJD("upgrad").formula() == "upgrad(gram)"
    assert (tmp_path / "run" / "student").is_dir()


def test_without_gradients_nothing_is_watched(world: World, plain_run: Path) -> None:
    steps = [row for row in read_trace(plain_run / "metrics.jsonl") if row["kind"] == "step"]
    assert all("W-C" not in row["axioms"] for row in steps)
