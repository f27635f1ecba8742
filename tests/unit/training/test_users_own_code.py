"""What a user's own file does to others: to the rows that they read, and to the settings of the whole process.

No other test has a model that works in place, or a file that sets what holds for everybody.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tiny_examples import ExamplesWorld
from trivium.errors import InputError, TriviumError
from trivium.teachers.live import LiveLogits
from trivium.training.recipe import Recipe, parse_recipe
from trivium.training.run import distill
from trivium.weighting.loading import load_object

IN_PLACE = """
def zeroes(x):
    x.mul_(0)
    return x[:, :3].clone()


def moves(x):
    answer = x[:, :3].clone()
    x.add_(1)
    return answer


def copies(x):
    x = x.clone()
    return x.mul_(2)[:, :3]
"""
SETS = """
import torch

torch.set_grad_enabled(False)
torch.set_default_dtype(torch.float64)


def right():
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    return lambda x: x[:, :3]
"""


def of(world: ExamplesWorld, reference: str) -> Recipe:
    content = world.one_task("size", train={"steps": 2})
    content["teachers"][0] = {"name": "mine", "model": reference}
    return parse_recipe(content)


@pytest.fixture
def world(tmp_path: Path) -> ExamplesWorld:
    (tmp_path / "place.py").write_text(IN_PLACE, encoding="utf-8")
    (tmp_path / "sets.py").write_text(SETS, encoding="utf-8")
    return ExamplesWorld(tmp_path)


@pytest.mark.parametrize("name", ["zeroes", "moves"])
def test_a_model_that_changes_what_it_reads_is_refused_for_that(name: str, world: ExamplesWorld) -> None:
    """``zeroes`` was taken; run live it gave every teacher after it rows of zeros. ``moves`` was told of dropout."""
    with pytest.raises(InputError, match="teacher 'mine' must leave its inputs as they are"):
        world.prepared_run(of(world, f"place.py:{name}"))
    world.prepared_run(of(world, "place.py:copies"))


def test_teachers_that_run_live_share_no_rows() -> None:
    class Teacher:
        name, fingerprint, vocabulary_size, device = "t", "f", 3, torch.device("cpu")

        def logits(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs.add_(1).clone()

    rows = torch.zeros(4, 3)
    first, second = LiveLogits([Teacher(), Teacher()], rows).logits(torch.arange(4))
    assert torch.equal(first, second)
    assert not rows.any()


def test_what_a_file_sets_for_the_whole_process_ends_with_it(world: ExamplesWorld, tmp_path: Path) -> None:
    """With gradients left off the training ended as a fault that nobody foresaw; with doubles the student did."""
    try:
        recipe = of(world, "sets.py:right")
        shop = world.prepared_run(recipe)
        assert torch.is_grad_enabled()
        assert torch.get_default_dtype() == torch.float32
        distill(recipe, shop, tmp_path / "run")
        load_object("sets.py:right", tmp_path)
        assert torch.is_grad_enabled()
    finally:
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)


ATTRIBUTES = """
import torch


class Numbered:
    classes = 3

    def __call__(self, x):
        return x[:, :3]


class Unsaid(Numbered):
    @property
    def classes(self):
        raise RuntimeError("no classes")


class Unknown(Numbered):
    classes = None

    @property
    def fingerprint(self):
        raise RuntimeError("no fingerprint")
"""


@pytest.mark.parametrize("name", ["Numbered", "Unsaid", "Unknown"])
def test_what_an_attribute_raises_names_the_teacher(name: str, world: ExamplesWorld) -> None:
    (world.folder / "attributes.py").write_text(ATTRIBUTES, encoding="utf-8")
    with pytest.raises(TriviumError, match="teacher 'mine' must"):
        world.prepared_run(of(world, f"attributes.py:{name}"))
