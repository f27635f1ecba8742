"""Runs on the tiny world: what must not change the student, and what must stop it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tiers import first
from tiny_world import Tampered, World, weights_of, with_train_source
from trivium.errors import AxiomViolation, InputError, TeacherError
from trivium.training.evaluate import bits_per_byte, mixture_nats, student_nll, teacher_nll
from trivium.training.recipe import Recipe
from trivium.training.run import PreparedRun, distill
from trivium.training.trace import read_trace


def worst_difference(a: Path, b: Path) -> float:
    first, second = weights_of(a / "student"), weights_of(b / "student")
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.deep
def test_accumulation_gives_what_one_large_batch_gives(world: World, tmp_path: Path) -> None:
    # Windows of unequal length, so that a mean of means would differ from the mean over tokens.
    large = world.recipe(name="large", train={"batch_size": 8, "accumulation": 1, "steps": 5})
    small = world.recipe(name="small", train={"batch_size": 4, "accumulation": 2, "steps": 5})
    for recipe in (large, small):
        distill(recipe, world.prepared_run(recipe), tmp_path / recipe.name)
    assert worst_difference(tmp_path / "large", tmp_path / "small") < 2e-5


def test_the_same_seed_gives_the_same_student_and_another_seed_another(
    recipe: Recipe, prepared_run: PreparedRun, plain_run: Path, world: World, tmp_path: Path
) -> None:
    distill(recipe, prepared_run, tmp_path / "again")
    distill(world.recipe(train={"seed": 1}), prepared_run, tmp_path / "other")
    assert worst_difference(plain_run, tmp_path / "again") == 0.0
    assert worst_difference(plain_run, tmp_path / "other") > 1e-3


def test_live_teachers_give_what_cached_ones_give(
    world: World, plain_run: Path, tmp_path: Path, recipe: Recipe
) -> None:
    live = world.recipe(cache={"enabled": False})
    distill(live, world.prepared_run(live), tmp_path / "live")
    # The cache holds float16; the tiny teachers' logits reach some tens.
    assert worst_difference(plain_run, tmp_path / "live") < 5e-3


def test_a_teacher_that_turns_nan_stops_the_run_before_the_step(
    world: World, prepared_run: PreparedRun, tmp_path: Path
) -> None:
    recipe = world.recipe(train={"save_every": 2})
    broken = with_train_source(prepared_run, Tampered(prepared_run.sources["train"], teacher=1, calls=7))
    with pytest.raises(TeacherError, match="tales"):
        distill(recipe, broken, tmp_path / "run")
    kept = sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*"))
    assert kept == ["checkpoint-4", "checkpoint-6"]
    assert max(row["step"] for row in read_trace(tmp_path / "run" / "metrics.jsonl")) <= 6
    # Nothing is lost: with the teacher mended, the run goes on from there to the same student.
    distill(recipe, prepared_run, tmp_path / "run", resume=True)
    distill(recipe, prepared_run, tmp_path / "whole")
    assert worst_difference(tmp_path / "run", tmp_path / "whole") == 0.0


@pytest.mark.parametrize("pool", first(["linear", "log"]))
@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "js"])
def test_every_loss_trains(world: World, prepared_run: PreparedRun, tmp_path: Path, pool: str, divergence: str) -> None:
    loss = {"pool": pool, "divergence": divergence, "temperature": 2.0, "label": 0.5}
    recipe = world.recipe(loss=loss, train={"steps": 3})
    distill(recipe, prepared_run, tmp_path / "run")
    steps = [row for row in read_trace(tmp_path / "run" / "metrics.jsonl") if row["kind"] == "step"]
    assert all(math.isfinite(row["loss"]) and row["label"] > 0 for row in steps)
    assert steps[-1]["loss"] == pytest.approx(steps[-1]["distillation"] + 0.5 * steps[-1]["label"], rel=1e-5)


def test_the_trace_tells_shares_influence_and_residuals(plain_run: Path) -> None:
    rows = read_trace(plain_run / "metrics.jsonl")
    steps = [row for row in rows if row["kind"] == "step"]
    assert [row["step"] for row in steps] == [3, 4, 6, 8, 9, 12]
    assert [row["step"] for row in rows if row["kind"] == "eval"] == [0, 6, 12]
    for row in steps:
        for scale in ("token", "task", "context", "all"):
            assert sum(row["share"][scale].values()) == pytest.approx(1.0, abs=1e-5)
        assert row["influence"]["token"] <= 1.0 + 1e-5
        assert row["influence"]["all"] <= 5.0 + 1e-5
        assert row["axioms"]["W-P"] < 0
        assert max(row["axioms"]["W-B"], row["axioms"]["W-N"]) <= 1e-6


def test_the_student_it_saves_is_the_one_it_measured(
    recipe: Recipe, prepared_run: PreparedRun, plain_run: Path
) -> None:
    from trivium.teachers.huggingface import load_model

    rows, _ = prepared_run.held_out
    measured = json.loads((plain_run / "nats.json").read_text(encoding="utf-8"))["student"]
    loaded = student_nll(load_model(plain_run / "student"), rows)
    torch.testing.assert_close(loaded, torch.tensor(measured, dtype=torch.float64), rtol=1e-6, atol=1e-5)


def test_bits_per_byte_is_what_a_plain_loop_says(prepared_run: PreparedRun) -> None:
    rows, source = prepared_run.held_out
    nll = teacher_nll(source, rows)[:, 0]
    total = {domain: [0.0, 0] for domain in rows.domains}
    logits = source.logits(torch.arange(len(rows)))[0].double()
    for row in range(len(rows)):
        entry = total[rows.domains[int(rows.domain[row])]]
        entry[1] += int(rows.bytes[row])
        for position, label in enumerate(rows.labels[row].tolist()):
            if label >= 0:
                entry[0] -= float(logits[row, position].log_softmax(-1)[label])
    found = bits_per_byte(nll, rows)
    for domain, (summed, size) in total.items():
        assert found[domain] == pytest.approx(summed / size / math.log(2), rel=1e-4)


def test_a_mixture_that_trusts_one_teacher_is_that_teacher(world: World, prepared_run: PreparedRun) -> None:
    from trivium.scheme import compose
    from trivium.weighting import DomainMap

    rows, source = prepared_run.held_out
    only = compose(["sums", "tales"], context=[DomainMap((1, 1), budget=40.0)])
    mixed = mixture_nats(only, source, rows, prepared_run.validation_loss)
    torch.testing.assert_close(mixed, teacher_nll(source, rows)[:, 1], rtol=1e-5, atol=1e-4)


UNNORMALIZED = """
import torch, trivium as tv

@tv.rule(scale="token", features={"entropy": (0.0, 12.0)})
def leaky(entropy):
    return 0.9 * torch.softmax(-entropy, dim=-1)

@tv.rule(scale="token", features={"entropy": (0.0, 12.0)})
def undefined(entropy):
    return entropy / (entropy - entropy)
"""


@pytest.fixture(scope="module")
def rules(world: World) -> World:
    (world.folder / "leaky.py").write_text(UNNORMALIZED, encoding="utf-8")
    return world


def alone(world: World, rule: str, action: str) -> Recipe:
    scheme: dict[str, Any] = {
        "token": [{"rule": rule}],
        "task": [],
        "context": [],
        "budget": None,
        "floor": 0,
        "cap": 1,
    }
    return world.recipe(scheme=scheme, monitor={"on_violation": action, "floor": 0.2}, train={"steps": 3})


def test_a_violation_raises_before_anything_is_learned(rules: World, prepared_run: PreparedRun, tmp_path: Path) -> None:
    with pytest.raises(AxiomViolation, match=r"W-N|W-B"):
        distill(alone(rules, "leaky.py:leaky", "raise"), prepared_run, tmp_path / "run")
    assert not list((tmp_path / "run").glob("checkpoint-*"))


@pytest.mark.parametrize(("action", "past"), [("repair", "repaired"), ("record", "recorded")])
def test_a_violation_is_repaired_or_recorded(
    rules: World, prepared_run: PreparedRun, tmp_path: Path, action: str, past: str
) -> None:
    distill(alone(rules, "leaky.py:leaky", action), prepared_run, tmp_path / "run")
    rows = read_trace(tmp_path / "run" / "metrics.jsonl")
    seen = [row for row in rows if row["kind"] == "violation"]
    assert {row["action"] for row in seen} == {past}
    assert {"W-N", "W-B"} <= {row["axiom"] for row in seen}
    assert {row["step"] for row in seen} == {1, 2, 3}
    shares = [row["share"]["all"] for row in rows if row["kind"] == "step"]
    assert all(sum(share.values()) == pytest.approx(1.0, abs=1e-5) for share in shares)


@pytest.mark.parametrize("action", ["raise", "repair", "record"])
def test_weights_that_are_no_numbers_never_train(
    rules: World, prepared_run: PreparedRun, tmp_path: Path, action: str
) -> None:
    from trivium.errors import TriviumError

    with pytest.raises(TriviumError):
        distill(alone(rules, "leaky.py:undefined", action), prepared_run, tmp_path / "run")
    assert not (tmp_path / "run" / "student").exists()


def test_a_folder_with_a_run_is_not_overwritten_nor_resumed_with_something_else(
    world: World, prepared_run: PreparedRun, recipe: Recipe, plain_run: Path
) -> None:
    with pytest.raises(InputError, match="overwrite"):
        distill(recipe, prepared_run, plain_run)
    with pytest.raises(InputError, match=r"the one that was begun; received another recipe\."):
        distill(world.recipe(train={"steps": 13}), prepared_run, plain_run, resume=True)
    swapped = PreparedRun(**{**prepared_run.__dict__, "teachers": list(reversed(prepared_run.teachers))})
    for teacher, name in zip(swapped.teachers, ("sums", "tales"), strict=True):
        object.__setattr__(teacher, "name", name)
    try:
        with pytest.raises(InputError, match=r"another teachers \(sums, tales\)"):
            distill(recipe, swapped, plain_run, resume=True)
    finally:
        for teacher, name in zip(prepared_run.teachers, ("sums", "tales"), strict=True):
            object.__setattr__(teacher, "name", name)


def test_tensorboard_receives_every_teachers_share(world: World, prepared_run: PreparedRun, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = world.recipe(train={"tracker": "tensorboard", "steps": 6})
    distill(recipe, prepared_run, tmp_path / "run")
    [events] = (tmp_path / "run").rglob("events.out.tfevents.*")
    accumulator = EventAccumulator(str(events))
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    for scale in ("token", "task", "context", "all"):
        assert any(tag.endswith(f"share/{scale}/sums") for tag in tags), tags
