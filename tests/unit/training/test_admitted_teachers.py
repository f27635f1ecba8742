"""What every teacher of examples and every student is asked when it is loaded, by prepared runs.

No other test hands over models whose answers depend on the call, on the batch or on an order of classes that nobody
asked about. They used to be learned from in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny_examples import ExamplesWorld
from trivium.errors import TriviumError
from trivium.training.recipe import parse_recipe
from trivium.training.run import PreparedRun, distill, prepare

FILE = """
import random

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier

from mine import CUTS, points, size_train

CLASSES = ("small", "medium", "large")
x, y = size_train()


def right(x):
    \"\"\"Answers as the labels are made, in the recipe's order.\"\"\"
    return 6.0 * torch.nn.functional.one_hot(torch.bucketize(x[:, 0].contiguous(), CUTS), 3).float()


def in_another_order(x):
    return right(x)[:, [2, 0, 1]]


def of_chance(x):
    return right(-x.flip(1))[:, [1, 1, 1]] + torch.tensor([0.0, 0.5, 0.0])


class Named(torch.nn.Module):
    classes = ("large", "small", "medium")

    def forward(self, x):
        return in_another_order(x)


forest = RandomForestClassifier(10, random_state=0).fit(x.numpy(), [CLASSES[k] for k in y])
by_method = forest.predict_proba
numbered = RandomForestClassifier(10, random_state=0).fit(x.numpy(), y.numpy())
lacking = RandomForestClassifier(10, random_state=0).fit(x[y > 0].numpy(), [CLASSES[k] for k in y[y > 0]])
strange = RandomForestClassifier(10, random_state=0).fit(x.numpy(), [("s", "m", "l")[k] for k in y])


def noisy(x):
    return right(torch.nn.functional.dropout(x, 0.3, training=True))


def augmented(x):
    return right(x) + random.choice([-1.0, 0.0, 1.0])


class Dropping(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.drop = torch.nn.Linear(4, 3), torch.nn.Dropout(0.5)

    def forward(self, x):
        return self.inner(self.drop(x))


def held_in_training(x, module=Dropping().train()):
    return module(x)


def standardized(x):
    return right((x - x.mean(0)) / (x.std(0, correction=0) + 1e-6))


def ordered(x):
    return right(x[x[:, 0].argsort()])


def softened(x):
    return right(x).softmax(-1)


def logs(x):
    return right(x).log_softmax(-1)


def sigmoids(x):
    return torch.sigmoid(right(x) - 3.0) * 0.9


def partial(x):
    return 0.4 * right(x).softmax(-1)


def constant(x):
    return torch.tensor([[0.3, -0.2, 1.0]]).expand(len(x), -1)


def broken(x):
    if len(x) == 1:
        return right(x).squeeze()
    return right(x)


def halves(x):
    return (right(x) * 2000).half()


def overflowing(x):
    return (right(x) * 20000).half()


NET = torch.nn.Linear(4, 3)


def the_net():
    return NET


class Shares(torch.nn.Module):
    \"\"\"Reads with the body of the student.\"\"\"

    def __init__(self):
        super().__init__()
        self.body = NET

    def forward(self, x):
        return right(x) + 0.0 * self.body(x)


class Softened(torch.nn.Linear):
    def __init__(self):
        super().__init__(4, 3)

    def forward(self, x):
        return super().forward(x).softmax(-1)


class Standardizing(Softened):
    def forward(self, x):
        return torch.nn.functional.linear(x - x.mean(0), self.weight, self.bias)


class Noisy(Softened):
    def forward(self, x):
        return torch.nn.functional.linear(torch.nn.functional.dropout(x, 0.5, True), self.weight, self.bias)


class Fine(Softened):
    classes = ("medium", "large", "small")

    def forward(self, x):
        return torch.nn.functional.linear(torch.nn.functional.dropout(x, 0.5, self.training), self.weight, self.bias)
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ExamplesWorld:
    world = ExamplesWorld(tmp_path_factory.mktemp("admitted"))
    (world.folder / "models.py").write_text(FILE, encoding="utf-8")
    return world


def content_of(small: ExamplesWorld, *names: str, student: str = "plain.py:student", **of_teacher: Any) -> Any:
    content = small.one_task()
    content["teachers"] = [{"name": name, "model": f"models.py:{name}"} | of_teacher for name in names]
    content["student"] = {"model": student}
    content["scheme"] = {"token": [{"rule": "entropy", "options": {"strength": 0.5}}]}
    content["cache"] = {"enabled": False}
    return content


def prepared(small: ExamplesWorld, *names: str, **options: Any) -> tuple[PreparedRun, list[str]]:
    told: list[str] = []
    content = content_of(small, *names, **options)
    shop = prepare(parse_recipe(content), small.folder, small.folder / "cache", lambda line, *_: told.append(line))
    return shop, [line for line in told if line.startswith(("note", "warning"))]


def losses(shop: PreparedRun) -> list[float]:
    return [float(value) for value in shop.validation_loss[0]]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("noisy", "must answer the same when it is asked twice"),
        ("augmented", "must answer the same when it is asked twice"),
        ("held_in_training", "must answer the same when it is asked twice"),
        ("standardized", "must give the same answer to a row alone and beside others"),
        ("ordered", "must answer rows in the order in which they stand"),
        ("softened", "must give logits, as its recipe says; received rows of numbers from 0 to 1 that sum to one"),
        ("broken", r"must give one number for each of 3 classes; received shape \[3\]"),
        ("strange", "must have the classes of data.tasks; received 3 that differ, the first 0: 'l' for it"),
        ("overflowing", "must give finite logits; received infinite logits in float16, which ends at 65504"),
        ("forest", "must give logits, as its recipe says"),
    ],
)
def test_a_teacher_whose_answers_mean_something_else_is_refused_for_that(
    small: ExamplesWorld, name: str, part: str
) -> None:
    with pytest.raises(TriviumError, match=f"teacher '{name}' {part}") as caught:
        prepared(small, "right", name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Softened", "the student must give logits, as its recipe says"),
        ("Standardizing", "the student must give the same answer to a row alone and beside others"),
        ("Noisy", "the student must answer the same when it is asked twice"),
    ],
)
def test_the_student_is_asked_the_same(small: ExamplesWorld, name: str, part: str) -> None:
    with pytest.raises(TriviumError, match=part):
        prepared(small, "right", student=f"models.py:{name}")


def test_a_module_is_asked_and_read_in_evaluation_mode(small: ExamplesWorld) -> None:
    shop, _ = prepared(small, "right", "Dropping")
    rows = shop.tables.validation.inputs
    first, second = (shop.teachers[1].logits(rows) for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad


def test_an_order_that_a_model_names_is_put_right_and_said(small: ExamplesWorld) -> None:
    shop, told = prepared(small, "right", "Named")
    assert losses(shop)[0] == losses(shop)[1] < 0.01
    assert told == [
        "note: teacher 'Named' has its classes in another order, large, small, medium; they are put into the recipe's"
    ]


@pytest.mark.parametrize("name", ["forest", "by_method", "numbered"])
def test_an_estimators_classes_are_read(small: ExamplesWorld, name: str) -> None:
    shop, told = prepared(small, name, gives="probabilities", smoothing=0.01)
    assert losses(shop)[0] < 0.3
    assert [line.split(",")[0] for line in told] == (
        [] if name == "numbered" else [f"note: teacher '{name}' has its classes in another order"]
    )


def test_a_class_that_an_estimator_never_saw_has_no_probability(small: ExamplesWorld) -> None:
    shop, told = prepared(small, "lacking", gives="probabilities")
    rows = shop.tables.validation
    p = shop.teachers[0].logits(rows.inputs)[:, 0].softmax(-1)
    assert float(p[:, 0].max()) == 0.0
    kept = rows.labels[:, 0] > 0
    assert float((p.argmax(-1) == rows.labels[:, 0])[kept].float().mean()) > 0.9
    assert told[0].endswith("they are put into the recipe's, and it lacks small")


def test_the_students_order_is_put_right_too(small: ExamplesWorld, tmp_path: Path) -> None:
    told: list[str] = []
    content = content_of(small, "right", student="models.py:Fine")
    content["train"] |= {"steps": 150, "learning_rate": 0.1, "evaluate_every": 150, "save_every": 150}
    shop = prepare(parse_recipe(content), small.folder, tmp_path)
    nll = distill(parse_recipe(content), shop, tmp_path / "run", progress=lambda line, *_: told.append(line))
    assert float(nll["student_correct"].mean()) > 0.7
    assert "note: the student has its classes in another order, medium, large, small; they are put into the" in told[0]


def test_an_order_that_nobody_names_is_warned_of_with_the_likely_one(small: ExamplesWorld) -> None:
    _, told = prepared(small, "right", "in_another_order")
    assert told == [
        "warning: teacher 'in_another_order' agrees with 0 of 30 labels of task 'size', where chance would have 10; "
        "with 30 if its outputs are, in this order, large, small, medium: name them in `classes`, or reorder them"
    ]


def test_agreement_by_chance_that_no_order_explains_is_a_warning(small: ExamplesWorld) -> None:
    _, told = prepared(small, "of_chance")
    [line] = [line for line in told if "agrees" in line]
    assert line.endswith("no other order of its classes explains it")


@pytest.mark.parametrize(
    ("name", "options", "part"),
    [
        ("sigmoids", {}, "lie between 0 and 1, like those of a sigmoid"),
        ("partial", {"gives": "probabilities"}, "sum to 0.40 on half of the rows; they are divided by that"),
        ("constant", {}, "gives one answer to all of 30 rows, whatever it reads"),
    ],
)
def test_what_looks_odd_is_told_and_taken(small: ExamplesWorld, name: str, options: dict[str, Any], part: str) -> None:
    _, told = prepared(small, name, **options)
    assert any(part in line for line in told)


@pytest.mark.parametrize("name", ["right", "logs", "halves"])
def test_logits_of_every_kind_are_taken_without_a_word(small: ExamplesWorld, name: str) -> None:
    shop, told = prepared(small, name)
    assert told == []
    assert losses(shop)[0] < 0.01


@pytest.mark.parametrize("name", ["NET", "the_net"])
def test_the_students_own_module_is_no_teacher_of_it(small: ExamplesWorld, name: str) -> None:
    part = f"teacher '{name}' must be another module than the student; received models.py:NET, which is the same object"
    with pytest.raises(TriviumError, match=part):
        prepared(small, "right", name, student="models.py:NET")


def test_a_teacher_that_shares_parameters_with_the_student_freezes_none(small: ExamplesWorld, tmp_path: Path) -> None:
    content = content_of(small, "Shares", student="models.py:NET")
    shop = prepare(parse_recipe(content), small.folder, tmp_path)
    before = shop.teachers[0].logits(shop.tables.validation.inputs)
    found: Sequence[Any] = [distill(parse_recipe(content), shop, tmp_path / name)["student"] for name in "ab"]
    assert torch.equal(found[0], found[1])  # each run begins where the file's module is
    assert torch.equal(shop.teachers[0].logits(shop.tables.validation.inputs), before)


def test_asking_leaves_the_random_state_and_the_mode_alone(small: ExamplesWorld) -> None:
    from trivium.teachers.admission import asked

    module = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(4, 3).eval())
    state = torch.random.get_rng_state()
    with asked(module):
        assert not module[0].training
        torch.rand(3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert module[0].training
    assert not module[1].training
