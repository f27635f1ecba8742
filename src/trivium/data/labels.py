"""The label sets of several tasks, side by side in one space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.errors import InputError, nearest, require


@dataclass(frozen=True)
class LabelSpace:
    """C = Σ_t C_t classes; those of task t stand together from ``offset(t)`` on.

    A distribution is over the classes of the example's own task: logits outside it are −inf for student and teachers
    alike, so one softmax over the space is exactly the softmax of the task's own head.
    """

    tasks: tuple[str, ...]
    classes: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, tasks: Mapping[str, Sequence[str]]) -> LabelSpace:
        """Raises InputError: no task, a task with fewer than two classes, or with one class twice."""
        require(len(tasks) > 0, "examples must have a task", "none", "Write data.tasks: {NAME: [class, ...]}.")
        for name, classes in tasks.items():
            require(
                len(set(classes)) == len(classes) >= 2,
                f"task {name!r} must have two or more classes, each once",
                list(classes),
                "Mend data.tasks.",
            )
        return cls(tuple(tasks), tuple(tuple(classes) for classes in tasks.values()))

    @property
    def size(self) -> int:
        return sum(map(len, self.classes))

    @property
    def reading(self) -> str:
        """What a number in place of a label is read as, in words."""
        named = [all(map(_is_number, classes)) for classes in self.classes]
        words = ["names of classes"] * any(named) + ["places of classes, the first is 0"] * (not all(named))
        return ", or of tasks whose classes have other names as ".join(words)

    @property
    def task_of_class(self) -> Tensor:
        """The task's index for each of the C classes, int64 [C]."""
        return torch.tensor([task for task, classes in enumerate(self.classes) for _ in classes])

    def offset(self, task: int) -> int:
        return sum(map(len, self.classes[:task]))

    def index(self, task: str, label: object, where: str) -> int:
        """Return the class's place in the space, for its name or its number within the task.

        Where the classes' names are numbers themselves, as those of a rating are, a number is a name: 1 of the classes
        "1" to "5" is the first and not the second.

        Raises:
            InputError: a task or class that does not exist.
        """
        if task not in self.tasks:
            raise InputError(f"the task of {where} must be one of data.tasks", repr(task), nearest(task, self.tasks))
        number = self.tasks.index(task)
        classes = self.classes[number]
        if isinstance(label, int) and not isinstance(label, bool) and all(map(_is_number, classes)):
            label = str(label)
        if isinstance(label, str):
            if label not in classes:
                raise InputError(
                    f"the label of {where} must be a class of task {task!r}", repr(label), nearest(label, classes)
                )
            return self.offset(number) + classes.index(label)
        if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(classes):
            return self.offset(number) + label
        if label is None:
            raise InputError(
                f"{where} must have a label: it is evaluated on, or the recipe reads the training labels",
                "none",
                "Label it, or set loss.label to 0 and use no rule that sees labels.",
            )
        raise InputError(
            f"the label of {where} must be a class of task {task!r} or its number, 0 to {len(classes) - 1}",
            repr(label),
            "Mend the label, or data.tasks.",
        )


def _is_number(name: str) -> bool:
    try:
        return str(int(name)) == name
    except ValueError:
        return False
