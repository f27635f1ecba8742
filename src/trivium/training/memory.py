"""Keep the rows that rules may look at again: those of the last batch, and those that a learnable rule keeps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from trivium.data.rows import IGNORE
from trivium.errors import InputError

Entries = Mapping[str, Any]
#: Row numbers ↦ their places among those asked for, and a batch of them; rows of one batch are of one shape.
Groups = list[tuple[Tensor, Entries]]


@runtime_checkable
class Recall(Protocol):
    """The interface of a memory, in which rows are found by number."""

    def keep(self, batch: Entries, rows: int) -> Tensor:
        """Take in a batch; returns the numbers of its rows."""
        ...

    def groups(self, numbers: Tensor) -> Groups: ...

    def forget(self, kept: Collection[int]) -> None:
        """Let go of all rows but these."""
        ...


class TableRecall:
    """Rows of a table, made into a batch again by whoever made it; ``batch["row"]`` are their numbers."""

    def __init__(self, batch_of: Callable[[Tensor], Entries]) -> None:
        self.batch_of = batch_of

    def keep(self, batch: Entries, rows: int) -> Tensor:
        found: Tensor = batch["row"].cpu()
        return found

    def groups(self, numbers: Tensor) -> Groups:
        return [(torch.arange(len(numbers)), self.batch_of(numbers))]

    def forget(self, kept: Collection[int]) -> None:
        """Do nothing, since a table forgets nothing."""


class Memory:
    """Rows of a loop, kept until they are forgotten, by their numbers in ``batch["row"]``, so that one that comes again
    takes its own place; in a loop that numbers none, each batch's rows get the next numbers."""

    def __init__(self) -> None:
        self.next, self.rows = 0, dict[int, dict[str, Any]]()

    def keep(self, batch: Entries, rows: int) -> Tensor:
        numbers = torch.arange(self.next, self.next + rows)
        if batch.get("row") is not None:
            numbers = torch.as_tensor(batch["row"]).flatten().cpu()
        for place, number in enumerate(numbers.tolist()):
            self.rows[number] = {name: _row(value, place, rows) for name, value in batch.items()}
        self.next += rows
        return numbers

    def groups(self, numbers: Tensor) -> Groups:
        """Raises InputError: a row that is kept no more."""
        alike: dict[str, list[int]] = {}
        for place, number in enumerate(numbers.tolist()):
            if number not in self.rows:
                raise InputError(
                    "a rule that learns must name the rows that it looks at again", number, "Give it `kept`."
                )
            shape = str([(n, list(v.shape) if isinstance(v, Tensor) else "") for n, v in self.rows[number].items()])
            alike.setdefault(shape, []).append(place)
        found: Groups = []
        for places in alike.values():
            chosen = [self.rows[int(numbers[place])] for place in places]
            found.append((torch.tensor(places), {name: _joined([row[name] for row in chosen]) for name in chosen[0]}))
        return found

    def forget(self, kept: Collection[int]) -> None:
        self.rows = {number: row for number, row in self.rows.items() if number in kept}

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"next": self.next, "rows": dict(self.rows)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the state back: the inverse of :meth:`state`."""
        self.next, self.rows = int(state["next"]), dict(state["rows"])


def gathered(groups: Groups, value: Callable[[Entries], Tensor], fill: float = 0.0) -> Tensor:
    """``value`` of every group, [n, T, ...], in the order of the rows asked for; shorter ones end in ``fill``."""
    parts = [value(entries) for _, entries in groups]
    if len(parts) == 1:
        return parts[0]
    longest = max(part.shape[1] for part in parts) if parts[0].ndim > 1 else 0
    padded = [_lengthened(part, longest, fill) for part in parts]
    order = torch.cat([places for places, _ in groups]).argsort()
    return torch.cat(padded)[order.to(padded[0].device)]


def _lengthened(part: Tensor, length: int, fill: float) -> Tensor:
    if part.ndim < 2 or part.shape[1] == length:
        return part
    rest = part.new_full((part.shape[0], length - part.shape[1], *part.shape[2:]), fill)
    return torch.cat([part, rest], dim=1)


def padded_labels(groups: Groups, labels: Callable[[Entries], Tensor]) -> Tensor:
    """Return labels [n, T] of the rows asked for, −100 behind the end of shorter ones."""
    return gathered(groups, labels, IGNORE)


def _row(value: Any, place: int, rows: int) -> Any:
    if isinstance(value, Tensor):
        return value[place].detach().cpu().clone() if value.ndim and len(value) == rows else value
    if isinstance(value, list | tuple) and len(value) == rows:
        return value[place]
    return value


def _joined(values: list[Any]) -> Any:
    return torch.stack(values) if isinstance(values[0], Tensor) else values
