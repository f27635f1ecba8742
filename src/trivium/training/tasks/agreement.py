"""Whether teachers know what they teach, by the validation labels: an order of classes that nobody named shows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from trivium.data.examples import Examples


def agreement_warnings(answers: Tensor, rows: Examples, teacher_names: Sequence[str]) -> Iterator[str]:
    """Yield a line for each teacher and task where its answers agree with the labels no more than chance would have
    them, or where another order of its classes would agree far better.

    Args:
        answers: each teacher's likeliest class on each row, as a place in the space of all classes, [N, K]; NaN where
            it does not serve the row's task.

    Chance is Σ_c (share of label c)·(share of answer c), what independent answers with the same shares would reach.
    """
    for k, name in enumerate(teacher_names):
        for number, task in enumerate(rows.tasks):
            mine = (rows.task == number) & ~answers[:, k].isnan()
            if bool(mine.any()):
                offset, classes = rows.space.offset(number), rows.space.classes[number]
                labels, found = rows.labels[mine, 0] - offset, answers[mine, k].long() - offset
                table = torch.zeros(len(classes), len(classes), dtype=torch.long)
                table.index_put_((labels, found), torch.ones_like(labels), accumulate=True)
                yield from _of_table(table, name, task, classes)


def _of_table(table: Tensor, name: str, task: str, classes: Sequence[str]) -> Iterator[str]:
    """``table[i, j]``: rows of label i that were answered with j."""
    total = int(table.sum())
    agreed, chance = int(table.trace()), float(table.sum(0).double() @ table.sum(1).double()) / total
    order = likely_order(table)
    if agreed > chance and order is None:
        return
    line = (
        f"warning: teacher {name!r} agrees with {agreed} of {total} labels of task {task!r}, where chance would have "
        f"{chance:.0f}; "
    )
    if order is None:
        yield line + "no other order of its classes explains it"
        return
    fits = int(table[torch.tensor(order), torch.arange(len(order))].sum())
    named = ", ".join(classes[label] for label in order[:12]) + (", ..." if len(order) > 12 else "")
    yield line + f"with {fits} if its outputs are, in this order, {named}: name them in `classes`, or reorder them"


def likely_order(table: Tensor) -> list[int] | None:
    """Return the class that each output most likely means, where that is clearly not the one in its place; else None.

    The assignment that agrees with most rows. It must win at least half of the rows of the classes that it moves, and
    win more of them than stay by four standard deviations of a fair coin.
    """
    from scipy.optimize import linear_sum_assignment  # late: `import trivium` does without

    labels, outputs = linear_sum_assignment(table.numpy(), maximize=True)
    moved = [(i, j) for i, j in zip(labels.tolist(), outputs.tolist(), strict=True) if i != j and table[i, j] > 0]
    gained, kept = (sum(int(table[i, j]) for i, j in pairs) for pairs in (moved, [(i, i) for i, _ in moved]))
    theirs = sum(int(table[i].sum()) for i, _ in moved)
    if not moved or gained - kept <= 4 * math.sqrt(gained + kept) or 2 * gained < theirs:
        return None
    order = [0] * len(table)
    for i, j in zip(labels.tolist(), outputs.tolist(), strict=True):
        order[j] = i
    return order
