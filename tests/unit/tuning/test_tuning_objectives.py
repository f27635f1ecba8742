"""The two objectives: the mixture read once is the mixture of the logits, a student is the one that distill trains."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny_search import identity, run_search
from tiny_world import World
from trivium.errors import InputError
from trivium.training.build import build_scheme
from trivium.training.evaluate import bits_per_byte, mixture_nats, student_nll
from trivium.training.recipe import SchemeSection
from trivium.training.run import PreparedRun, distill
from trivium.training.trace import read_trace
from trivium.tuning.mixture import MixtureObjective, mean_nll
from trivium.tuning.search import Limits, search
from trivium.tuning.space import Space, build_space
from trivium.tuning.student import EVALUATIONS, StudentObjective

STEPS = 10


class Drawn:
    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def choice(self, name: str, options: Sequence[str]) -> str:
        return self.draw.choice(list(options))

    def real(self, name: str, low: float, high: float, log: bool) -> float:
        return self.draw.uniform(low, high)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_mixture_read_once_is_that_of_the_logits(space: Space, prepared_run: PreparedRun, split: Any) -> None:
    objective = MixtureObjective(space, prepared_run)
    rows = objective.rows(split)
    sections = [space.section(Drawn(seed)) for seed in range(12)] + [space.bare]
    assert len({str(section) for section in sections}) > 8
    for section in sections:
        scheme = build_scheme(space.with_section(section), space.base)
        slow = mixture_nats(scheme, prepared_run.sources[split], rows, prepared_run.validation_loss)
        torch.testing.assert_close(objective.nll(section, split), slow, rtol=1e-6, atol=1e-4)
    assert objective.value(space.bare) == pytest.approx(
        sum(bits_per_byte(objective.nll(space.bare, "validation"), objective.rows("validation")).values()) / 2
    )


def test_a_mixture_under_the_log_pool_is_that_of_the_log_pool(world: World, prepared_run: PreparedRun) -> None:
    recipe = world.recipe(loss={"pool": "log"})
    space = build_space(recipe, world.folder)
    objective = MixtureObjective(space, prepared_run)
    scheme = build_scheme(recipe, world.folder)
    rows = objective.rows("validation")
    expected = mixture_nats(scheme, prepared_run.sources["validation"], rows, prepared_run.validation_loss, "log")
    assert torch.equal(objective.nll(recipe.scheme, "validation"), expected)
    linear = MixtureObjective(build_space(world.recipe(), world.folder), prepared_run)
    assert not torch.allclose(linear.nll(recipe.scheme, "validation"), expected, atol=1e-3)


def test_logits_are_read_anew_only_for_a_new_feature(space: Space, prepared_run: PreparedRun) -> None:
    calls = []

    class Counting:
        def logits(self, rows: torch.Tensor) -> list[torch.Tensor]:
            calls.append(len(rows))
            return prepared_run.sources["validation"].logits(rows)

    counted = dataclasses.replace(prepared_run, sources={**prepared_run.sources, "validation": Counting()})
    objective = MixtureObjective(space, counted)
    for seed in range(60):
        objective.value(space.section(Drawn(seed)))
    passes = sum(calls) / len(prepared_run.tables.validation)
    assert passes == 2  # the second for max_prob, which nemo_rl reads under one of its scores


def test_what_has_no_mixture_says_so(world: World, space: Space, prepared_run: PreparedRun) -> None:
    objective = MixtureObjective(space, prepared_run)
    assert objective.measurable(space.recipe.scheme) == ""
    gap = SchemeSection.model_validate({"token": [{"rule": "gap"}]})
    assert "looks at the student" in objective.measurable(gap)
    peeking = SchemeSection.model_validate({"token": [{"rule": "ca_mkd", "options": {"stable": True}}]})
    for section, said in ((gap, "looks at the student"), (peeking, "it sees the label")):
        with pytest.raises(InputError, match=said):
            objective.value(section)


def test_a_recipe_without_test_text_has_no_test_rows(space: Space, prepared_run: PreparedRun) -> None:
    blind = dataclasses.replace(prepared_run, tables=dataclasses.replace(prepared_run.tables, test=None))
    with pytest.raises(KeyError):
        MixtureObjective(space, blind).rows("test")


@pytest.mark.deep
def test_a_mixture_under_the_power_pool_has_the_recipes_exponent(world: World, prepared_run: PreparedRun) -> None:
    found = []
    for exponent in (0.25, 1.0):
        recipe = world.recipe(loss={"pool": "power", "exponent": exponent})
        objective = MixtureObjective(build_space(recipe, world.folder), prepared_run)
        found.append(objective.nll(recipe.scheme, "validation"))
    linear = MixtureObjective(build_space(world.recipe(), world.folder), prepared_run)
    torch.testing.assert_close(found[1], linear.nll(world.recipe().scheme, "validation"), rtol=1e-5, atol=1e-3)
    assert not torch.allclose(found[0], found[1], atol=1e-3)


@pytest.fixture(scope="module")
def student_space(world: World) -> Space:
    return build_space(world.recipe(), world.folder, goal="student", budget=4.0)


@pytest.mark.deep
def test_a_student_is_the_one_that_distill_trains(
    world: World, student_space: Space, prepared_run: PreparedRun, tmp_path: Path
) -> None:
    objective = StudentObjective(student_space, prepared_run, 12, tmp_path / "students")
    seen: list[tuple[int, float]] = []
    value = objective.value(world.recipe().scheme, lambda step, bits: seen.append((step, bits)))
    plain = world.recipe(train={"evaluate_every": 3, "save_every": 12})
    distill(plain, prepared_run, tmp_path / "plain")
    evals = [row for row in read_trace(tmp_path / "plain" / "metrics.jsonl") if row["kind"] == "eval"]
    assert [step for step, _ in seen] == [row["step"] for row in evals] == [0, 3, 6, 9, 12]
    assert value == pytest.approx(seen[-1][1]) == pytest.approx(evals[-1]["mean"], rel=1e-6)
    # On either text its nats are those of the student that is kept.
    from trivium.teachers.huggingface import load_model

    model = load_model(tmp_path / "plain" / "student")
    for split in ("validation", "test"):
        rows = objective.rows(split)  # type: ignore[arg-type]
        found = objective.nll(world.recipe().scheme, split)  # type: ignore[arg-type]
        torch.testing.assert_close(found, student_nll(model, rows), rtol=1e-6, atol=1e-4)
    assert not list((tmp_path / "students").glob("*/checkpoint-*"))
    objective.keep([student_space.bare])
    assert not list((tmp_path / "students").iterdir())
    # Trained anew, it is the same.
    again = mean_nll(objective.nll(world.recipe().scheme, "validation"), objective.rows("validation"))
    assert again == pytest.approx(value, rel=1e-6)


def test_no_trial_of_a_student_sees_the_test_rows(
    student_space: Space, prepared_run: PreparedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    from trivium.training import recorded, run

    def counted(model: Any, rows: Any, *score: Any) -> torch.Tensor:
        asked.append(len(rows))
        return student_nll(model, rows, *score)

    monkeypatch.setattr(run, "student_nats", counted)
    monkeypatch.setattr(recorded, "student_nats", counted)
    StudentObjective(student_space, prepared_run, 4, tmp_path).value(student_space.bare)
    assert asked
    assert prepared_run.tables.test is not None
    assert len(prepared_run.tables.test) != len(prepared_run.tables.validation)
    assert set(asked) == {len(prepared_run.tables.validation)}


@pytest.mark.deep
def test_students_that_lag_are_stopped_and_removed(
    student_space: Space, prepared_run: PreparedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the sixth student on, every validation is reported one bit worse than it is."""
    from trivium.training.recorded import Recorder

    proper, trained = Recorder.evaluate, [0]

    def worse(self: Recorder, step: int) -> None:
        trained[0] += step == 0
        watch = self.watch
        self.watch = lambda at, bits: watch(at, bits + (trained[0] > 5))
        proper(self, step)
        self.watch = watch

    monkeypatch.setattr(Recorder, "evaluate", worse)
    objective = StudentObjective(student_space, prepared_run, STEPS, tmp_path / "students")
    records, _ = search(student_space, student_space.specification, objective, identity(), tmp_path, Limits(7))
    outcomes = [record.outcome for record in records]
    assert outcomes[:4] == ["complete"] * 4  # too few to judge by
    assert outcomes[5:] == ["stopped"] * 2
    assert list(records[6].validations) == [STEPS // EVALUATIONS]
    kept = list((tmp_path / "students").iterdir())
    assert 2 <= len(kept) <= 3  # recipe, uniform and the best so far
    assert all((folder / "done").exists() for folder in kept)


def test_a_search_over_mixtures_finds_more_than_it_began_with(
    space: Space, prepared_run: PreparedRun, tmp_path: Path
) -> None:
    records = run_search(space, tmp_path, 25, MixtureObjective(space, prepared_run))
    values = [record.value for record in records if record.value is not None]
    assert len(values) == 25
    assert min(values) < min(values[:2])
