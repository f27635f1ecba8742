"""Modules that hide in callables: they answer at rest, and the student is found among them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trivium.errors import InputError
from trivium.scheme import compose
from trivium.teachers.reach import modules_of
from trivium.training.distiller import Distiller

ONE = compose(["a"])


class Attribute:
    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, x: Tensor) -> Any:
        return self.model(x)


class Several(Attribute):
    def __init__(self, model: nn.Module) -> None:
        self.models = {"one": [model]}

    def __call__(self, x: Tensor) -> Any:
        return self._of("one")(x)

    def _of(self, name: str) -> Any:
        return self.models[name][0]


class Heir(Attribute):
    def __call__(self, x: Tensor) -> Any:
        return super().__call__(x)


class Slot:
    __slots__ = ("model",)

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, x: Tensor) -> Any:
        return self.model(x)


class Loop:
    """A loop of one's own, which holds everything."""

    def __init__(self, model: nn.Module, student: nn.Module | None = None) -> None:
        self.model, self.student = model, student

    def teach(self, x: Tensor) -> Any:
        return self.model(x)

    def ask(self) -> Callable[[Tensor], Any]:
        return lambda x: self.model(x)


def default(model: nn.Module) -> Callable[..., Any]:
    def ask(x: Tensor, *, held: Any = (model,)) -> Any:
        return held[0](x)

    return ask


def contained(model: nn.Module) -> Callable[..., Any]:
    models = {"a": model}
    return lambda x: models["a"](x)


def nested(model: nn.Module) -> Callable[..., Any]:
    def inner(x: Tensor) -> Any:
        return model(x)

    return lambda x: next(inner(part) for part in (x,))


WAYS: list[Callable[[nn.Module], Callable[..., Any]]] = [
    Attribute,
    Several,
    Heir,
    Slot,
    lambda model: Loop(model).teach,
    lambda model: Loop(model).ask(),
    default,
    contained,
    nested,
    lambda model: functools.partial(Attribute(model)),
    lambda model: Attribute(Attribute(model)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("way", WAYS)
def test_a_module_that_a_callable_hides_answers_at_rest_and_is_not_the_student(way: Any) -> None:
    noisy, student = nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.5)), nn.Linear(5, 3)
    batch = {"x": torch.randn(6, 5), "labels": torch.zeros(6, dtype=torch.long)}
    distiller = Distiller(ONE, {"a": way(noisy)}, student=student)
    assert torch.equal(distiller(student(batch["x"]), batch).loss, distiller(student(batch["x"]), batch).loss)
    assert noisy[1].training
    with pytest.raises(InputError, match="must be another model than the student"):
        Distiller(ONE, {"a": way(student)}, student=student)


def test_a_loop_that_holds_the_student_too_may_ask_its_teacher() -> None:
    teacher, student = nn.Linear(5, 3), nn.Linear(5, 3)
    loop = Loop(teacher, student)
    assert modules_of(loop.teach) == modules_of(loop.ask()) == [teacher]


def test_what_holds_itself_is_walked_once() -> None:
    model, round_ = nn.Linear(5, 3), list[Any]()
    round_ += [round_] * 100 + [model]
    assert modules_of(lambda x: round_[-1](x)) == [model]
