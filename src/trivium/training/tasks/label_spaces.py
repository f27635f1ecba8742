"""The classes of all tasks that a recipe of examples names, and which teachers serve which."""

from __future__ import annotations

import torch
from torch import Tensor

from trivium.data.labels import LabelSpace
from trivium.errors import InputError, nearest, require
from trivium.training.recipe import Recipe


def label_space(recipe: Recipe) -> LabelSpace:
    """The classes of all tasks.

    Raises:
        InputError: no task, too few classes, a domain or teacher that names a task which does not exist.
    """
    space = LabelSpace.of(recipe.data.tasks)
    named = {} if recipe.data.task_column else {f"domain {d.name!r}": [d.task] for d in recipe.data.domains}
    named |= {f"teacher {teacher.name!r}": teacher.tasks or [] for teacher in recipe.teachers}
    for who, tasks in named.items():
        for task in tasks:
            if task not in space.tasks:
                fix = nearest(task, space.tasks)
                raise InputError(f"the task of {who} must be one of data.tasks", repr(task), fix)
    return space


def serves(recipe: Recipe, space: LabelSpace) -> Tensor:
    """Which teacher serves which task, bool [tasks, K].

    Raises:
        InputError: a task without a teacher.
    """
    found = torch.tensor([[t.tasks is None or task in t.tasks for t in recipe.teachers] for task in space.tasks])
    alone = [task for task, row in zip(space.tasks, found, strict=True) if not bool(row.any())]
    require(not alone, "every task must have a teacher that serves it", f"none for {alone}", "Add it to `tasks`.")
    return found
