"""Rules that learn, in a run: taught after every step, saved with every checkpoint, resumed exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tiny_examples import ExamplesWorld
from tiny_world import World
from trivium.errors import InputError
from trivium.teachers.panel import Bank
from trivium.training.distiller import Distiller
from trivium.training.learning import Teaching
from trivium.training.memory import TableRecall
from trivium.training.recipe import Recipe
from trivium.training.recorded import RowNumbers
from trivium.training.run import PreparedRun, distill
from trivium.training.trace import read_trace
from trivium.weighting import AMTSS

NO_SCHEME: dict[str, Any] = {"token": [], "task": [], "context": [], "budget": None, "floor": 0.0, "cap": 1.0}
RULES: dict[str, dict[str, Any]] = {
    "mmkd": {"token": [{"rule": "mmkd", "options": {"every": 2, "budget": 4.0, "lipschitz": 8.0, "rate": 0.01}}]},
    "amtss": {"task": [{"rule": "amtss", "options": {"rate": 0.3, "budget": 4.0}}]},
}


class Cut(Exception):
    pass


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ExamplesWorld:
    return ExamplesWorld(tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="module")
def shop(small: ExamplesWorld) -> PreparedRun:
    return small.prepared_run(small.recipe())


def weights(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "student" / "model.safetensors")


def flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [item for key in sorted(value, key=str) for item in flat(value[key])]
    if isinstance(value, list | tuple):
        return [item for part in value for item in flat(part)]
    return [value]


def same_state(a: Path, b: Path) -> bool:
    first, second = (flat(torch.load(folder / "rules.pt", weights_only=True)) for folder in (a, b))
    return len(first) == len(second) and all(
        torch.equal(x, y) if isinstance(x, Tensor) else x == y for x, y in zip(first, second, strict=True)
    )


def interrupted(recipe: Recipe, shop: PreparedRun, folder: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """A run that is cut off in its ``at``-th step, then resumed."""
    from trivium.training import distiller

    whole, calls = distiller.distillation_step, 0

    def cut(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Cut
        return whole(*args, **kwargs)

    monkeypatch.setattr(distiller, "distillation_step", cut)
    with pytest.raises(Cut):
        distill(recipe, shop, folder)
    monkeypatch.setattr(distiller, "distillation_step", whole)
    distill(recipe, shop, folder, resume=True)


@pytest.mark.deep
@pytest.mark.parametrize("rule", RULES)
def test_a_resumed_run_is_the_one_that_was_not_interrupted(
    small: ExamplesWorld, shop: PreparedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    recipe = small.recipe(name=rule, scheme=NO_SCHEME | RULES[rule])
    distill(recipe, shop, tmp_path / "whole")
    interrupted(recipe, shop, tmp_path / "cut", monkeypatch, at=10)
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert same_state(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("rule", RULES)
def test_what_was_learned_changes_the_weights(
    small: ExamplesWorld, shop: PreparedRun, tmp_path: Path, rule: str
) -> None:
    distill(small.recipe(name=rule, scheme=NO_SCHEME | RULES[rule]), shop, tmp_path / rule)
    lines = [line for line in read_trace(tmp_path / rule / "metrics.jsonl") if line["kind"] == "step"]
    first, last = lines[0]["share"]["all"], lines[-1]["share"]["all"]
    assert max(abs(first[name] - last[name]) for name in first) > 1e-3
    assert max(line["influence"]["all"] for line in lines) <= 4.0 + 1e-5
    assert all(line["axioms"]["W-N"] < 1e-6 for line in lines)


def test_a_lesson_leaves_student_buffers_and_random_state_alone(small: ExamplesWorld, shop: PreparedRun) -> None:
    from trivium.training.build import build_scheme
    from trivium.training.tasks.classifiers import build_classifier_student

    recipe = small.recipe(scheme=NO_SCHEME | {"token": [{"rule": "mmkd", "options": {"every": 1}}]})
    scheme, student = build_scheme(recipe, small.folder), build_classifier_student(recipe, small.folder)
    noisy = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5))
    student.add_module("noise", noisy)  # not called, but copied with the rest
    before = {name: value.clone() for name, value in student.state_dict().items()}
    table = RowNumbers(shop.tables.train)
    recall = TableRecall(table.batch)
    distiller = Distiller(scheme, Bank(shop.sources["train"]), shift=False, recall=recall)
    batch = table.batch(torch.arange(8))
    logits = student(batch["inputs"]).logits
    generator = torch.get_rng_state()
    distiller(logits, batch)
    distiller.learn(student, 0.1)
    assert distiller.teaching.rules[0].kept()
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())
    assert torch.equal(generator, torch.get_rng_state())
    assert all(p.grad is None for p in student.parameters())


@pytest.mark.deep
def test_text_is_weighed_by_a_network_too(
    world: World, prepared_run: PreparedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = len(prepared_run.tokenizer)
    options = {"every": 2, "budget": 4.0, "classes": classes, "samples": 4}
    recipe = world.recipe(
        name="network",
        scheme=NO_SCHEME | {"token": [{"rule": "mmkd", "options": options}]},
        train={"steps": 6, "save_every": 2, "log_every": 2, "evaluate_every": 6},
    )
    distill(recipe, prepared_run, tmp_path / "whole")
    interrupted(recipe, prepared_run, tmp_path / "cut", monkeypatch, at=5)
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert same_state(tmp_path / "whole", tmp_path / "cut")


def test_several_processes_are_refused() -> None:
    from trivium.scheme import compose

    scheme = compose(["a", "b", "c"], task=[AMTSS(3)])
    with pytest.raises(InputError, match="one process"):
        Teaching(scheme).require_one_process(2)


def test_sizes_are_those_of_the_recipe(small: ExamplesWorld) -> None:
    from trivium.scheme.tree import leaves
    from trivium.training.build import build_scheme

    recipe = small.recipe(scheme=NO_SCHEME | RULES["mmkd"] | RULES["amtss"])
    found = {rule.name: rule for rule in leaves(build_scheme(recipe, small.folder))}
    assert found["mmkd"].num_teachers == found["amtss"].num_teachers == len(recipe.teachers)  # type: ignore[attr-defined]
    assert found["mmkd"].classes == sum(map(len, recipe.data.tasks.values()))  # type: ignore[attr-defined]
    assert found["amtss"].tasks == len(recipe.data.tasks)  # type: ignore[attr-defined]
