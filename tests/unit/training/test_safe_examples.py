"""Safety of labelled examples: classes as the unsafe set, teachers that serve some tasks, bounds on random runs.

No other test limits a classifier, or holds S1, S2, S3 and S6 against trained students.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.safety import small_run
from tiny_examples import ExamplesWorld
from trivium.errors import InputError
from trivium.training.recipe import parse_recipe
from trivium.training.run import distill
from trivium.training.trace import read_trace

LARGE = {"critical": {"domains": ["size"]}, "unsafe": {"classes": ["large"]}, "limit": 0.05}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ExamplesWorld:
    return ExamplesWorld(tmp_path_factory.mktemp("safe_examples"))


@pytest.mark.parametrize("enforce", ["constraint", "target"])
def test_a_class_is_limited_where_some_teachers_serve(small: ExamplesWorld, tmp_path: Path, enforce: str) -> None:
    safety = {**LARGE, "enforce": enforce, "trust": "sizer > both = signer"}
    recipe = small.recipe(safety=safety)
    shop = small.prepared_run(recipe)
    distill(recipe, shop, tmp_path / "run")
    found = json.loads((tmp_path / "run" / "safety.json").read_text(encoding="utf-8"))
    assert found["forbidden"] == ["class 'large'"]
    assert found["before"]["note"].endswith("some teachers do not serve all tasks")
    after = found["after"]
    assert set(after["teachers"]) == {"both", "sizer"}
    assert set(after["domains"]) == {"size"}
    assert all(d["target"] <= d["largest"] + 1e-6 and d["student"] <= d["bound"] + 1e-6 for d in found["documents"])
    assert set(found["utility"]) == {"unit", "critical", "all others"}
    steps = [line["safety"] for line in read_trace(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "step"]
    assert sum(step["projected"] for step in steps) > 0 if enforce == "target" else steps[-1]["multiplier"] > 0
    assert not (tmp_path / "run" / "student" / "unsafe.json").exists()


def test_what_is_found_before_training_is_that_of_the_teachers(small: ExamplesWorld) -> None:
    content = small.one_task(safety={**LARGE, "limit": 0.9, "trust": "sizer > twin"})
    before = small.prepared_run(parse_recipe(content)).safety.before  # type: ignore[union-attr]
    assert before["teachers"]["sizer"] == before["teachers"]["twin"]
    assert before["bounds"]["S1"]["estimate"] == pytest.approx(before["bounds"]["S2"]["estimate"], abs=1e-6)
    assert before["order_fails"] == 0.0
    assert before["feasible"]
    assert before["least"] == pytest.approx(before["teachers"]["sizer"]["estimate"], abs=1e-6)


@pytest.mark.parametrize(
    ("safety", "said"),
    [
        ({"unsafe": {"classes": ["larg"]}}, "Did you mean 'large'"),
        ({"unsafe": {"strings": ["a"]}}, "strings are of text"),
        ({"critical": {"regex": "a"}}, "need texts"),
        ({"critical": {"domains": ["sign"]}}, "something is unsafe; received"),
    ],
)
def test_what_examples_do_not_have_is_refused(small: ExamplesWorld, safety: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        small.prepared_run(small.recipe(safety={**LARGE, "enforce": "target", **safety}))


@pytest.mark.parametrize("seed", [1, 5, 6, 8, 13])
def test_no_bound_is_exceeded_in_a_random_run(seed: int) -> None:
    """A small instance of benchmarks/safety.py: attacks, orders, enforcements; rounding is that of float32 weights."""
    found = small_run(seed)
    assert max(found["excess"].values()) < 1e-6
    assert {"S2", "S3"} <= set(found["excess"])
