"""Labelled examples: a position with T = 1, so that everything that trains on text trains on them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from trivium.data.census import TOLERATED, Count, unread_of
from trivium.data.labelled import Labelled
from trivium.data.labels import LabelSpace
from trivium.errors import InputError, require
from trivium.store.identity import of_table

Values = Mapping[str, Tensor | tuple[str, ...]]


@dataclass(frozen=True)
class Inputs:
    """What models see of N examples.

    Attributes:
        values: by name, a tensor [N, ...] or N strings.
        task: index of each example's task, [N].
    """

    values: Values
    task: Tensor

    def __len__(self) -> int:
        return len(self.task)

    @property
    def shape(self) -> tuple[int, int]:
        """N rows of one position."""
        return len(self), 1

    def __getitem__(self, index: Tensor | slice) -> Inputs:
        numbers = torch.arange(len(self))[index]
        return Inputs({name: _taken(value, numbers) for name, value in self.values.items()}, self.task[numbers])

    def to(self, device: torch.device | str) -> Inputs:
        moved = {n: v.to(device) if isinstance(v, Tensor) else v for n, v in self.values.items()}
        return Inputs(moved, self.task.to(device))

    def digest(self) -> str:
        """Return SHA-256 over names, shapes and values, 16 hex digits."""
        found = hashlib.sha256()
        for name, value in sorted([*self.values.items(), ("", self.task)]):
            found.update(f"{name}{len(value)}".encode())
            if isinstance(value, Tensor):
                found.update(f"{tuple(value.shape)}{value.dtype}".encode())
                found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
            else:
                for text in value:
                    found.update(hashlib.sha256(text.encode()).digest())
        return found.hexdigest()[:16]


@dataclass(frozen=True)
class Examples:
    """N examples, each a row of one position.

    Attributes:
        inputs: what models see.
        labels: [N, 1], places in the space of all tasks' classes.
        domain, task, document, domains, tasks, columns: as for :class:`trivium.data.rows.Rows`; an example is a
            document.
        space: the classes of each task.
        serves: bool [tasks, K], which teacher serves which task.
        census: what became of each domain's examples.
    """

    inputs: Inputs
    labels: Tensor
    domain: Tensor
    task: Tensor
    document: tuple[str, ...]
    domains: tuple[str, ...]
    space: LabelSpace
    serves: Tensor
    columns: dict[str, Tensor] = field(default_factory=dict)
    census: tuple[Count, ...] = ()

    unit: ClassVar[str] = "nats an example"
    nats_a_unit: ClassVar[float] = 1.0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.space.tasks

    @property
    def mask(self) -> Tensor:
        return torch.ones_like(self.labels, dtype=torch.bool)

    @property
    def size(self) -> Tensor:
        """One a row, [N]: losses are reported a row."""
        return torch.ones(len(self), dtype=torch.long)

    @cached_property
    def teacher_mask(self) -> Tensor | None:
        """Which teachers serve each row, bool [N, K]; None where all serve all."""
        return None if bool(self.serves.all()) else self.serves[self.task]

    def digest(self) -> str:
        """Of everything in the table but the census, 32 hex digits."""
        tensors = {"labels": self.labels, "domain": self.domain, "task": self.task, "serves": self.serves}
        classes = [list(names) for names in self.space.classes]
        return of_table(tensors, self.columns, [self.inputs.digest(), self.document, self.domains, self.tasks, classes])

    def arguments(self, index: Tensor, device: torch.device | str = "cpu") -> dict[str, Inputs]:
        """Return what a student's forward takes for the rows numbered ``index``."""
        return {"inputs": self.inputs[index.cpu()].to(device)}


@dataclass(frozen=True)
class DomainExamples:
    """The examples of one domain and the task they belong to where they do not say."""

    name: str
    task: str
    found: Labelled
    source: str = ""


def make_examples(
    domains: Sequence[DomainExamples],
    space: LabelSpace,
    serves: Tensor,
    limit: int | None,
    seed: int,
    columns: Mapping[str, int] | None = None,
    labels_read: bool = True,
) -> Examples:
    """Put the examples of all domains in one table, ``limit`` of each domain, drawn by ``seed``.

    Args:
        columns: user features to carry along, by name, with the number of values each example must hold.
        labels_read: whether anything reads the labels. Where nothing does, an example may have None for one, and gets
            the first class of its task.

    Raises:
        InputError: domains whose inputs differ in name, kind or shape; a label or task that does not exist; a column
            that is missing or of the wrong width.
    """
    chosen: list[tuple[DomainExamples, list[int]]] = []
    for domain in domains:
        draw = random.Random(f"{seed}/{domain.name}")
        numbers = draw.sample(range(len(domain.found)), len(domain.found))
        chosen.append((domain, numbers[:limit]))
    tasks, labels = [], []
    for domain, numbers in chosen:
        for number in numbers:
            task = domain.found.tasks[number] if domain.found.tasks else domain.task
            where = domain.found.names[number]
            label = domain.found.labels[number]
            labels.append(space.index(task, 0 if label is None and not labels_read else label, where))
            tasks.append(space.tasks.index(task))
    task_index = torch.tensor(tasks)
    return Examples(
        inputs=Inputs(_joined(chosen), task_index),
        labels=torch.tensor(labels).unsqueeze(-1),
        domain=torch.cat([torch.full((len(numbers),), d) for d, (_, numbers) in enumerate(chosen)]),
        task=task_index,
        document=tuple(domain.found.names[number] for domain, numbers in chosen for number in numbers),
        domains=tuple(domain.name for domain in domains),
        space=space,
        serves=serves,
        columns={name: _column(name, width, chosen) for name, width in (columns or {}).items()},
        census=tuple(_count(domain, len(numbers), columns or {}, space) for domain, numbers in chosen),
    )


def _count(domain: DomainExamples, rows: int, features: Mapping[str, int], space: LabelSpace) -> Count:
    found = domain.found
    notes = []
    blank = sum(not text.strip() for texts in found.inputs.values() if isinstance(texts, tuple) for text in texts)
    said = f"{blank} texts of {domain.name!r} are blank"
    many = blank > TOLERATED * len(found)
    if blank and not many:
        notes.append(said)
    unlabelled = sum(label is None for label in found.labels)
    if unlabelled:
        notes.append(f"{unlabelled} have no label")
    numbered = sum(isinstance(label, int) for label in found.labels)
    if numbered:
        notes.append(f"{numbered} labels are numbers, read as {space.reading}")
    return Count(
        domain=domain.name,
        source=domain.source,
        documents=len(found),
        examined=len(found),
        rows=rows,
        available=len(found),
        read=(*found.read, *features),
        unread=unread_of(found.columns, features),
        notes=tuple(notes),
        alerts=(said,) if many else (),
    )


def _joined(chosen: Sequence[tuple[DomainExamples, list[int]]]) -> dict[str, Tensor | tuple[str, ...]]:
    first = chosen[0][0]
    joined: dict[str, Tensor | tuple[str, ...]] = {}
    for domain, _ in chosen:
        ours, theirs = _form(first.found.inputs), _form(domain.found.inputs)
        require(
            ours == theirs,
            "all domains must have the same inputs",
            f"{ours} in {first.name!r}, {theirs} in {domain.name!r}",
            "Give them one shape.",
        )
    for name in first.found.inputs:
        parts = [_taken(domain.found.inputs[name], torch.tensor(numbers)) for domain, numbers in chosen]
        tensors = [part for part in parts if isinstance(part, Tensor)]
        joined[name] = torch.cat(tensors) if tensors else tuple(text for part in parts for text in part)
    return joined


def _form(inputs: Values) -> dict[str, str]:
    return {n: f"{v.dtype} {list(v.shape[1:])}" if isinstance(v, Tensor) else "text" for n, v in inputs.items()}


def _taken(value: Tensor | tuple[str, ...], numbers: Tensor) -> Tensor | tuple[str, ...]:
    return value[numbers] if isinstance(value, Tensor) else tuple(value[number] for number in numbers.tolist())


def _column(name: str, width: int, chosen: Sequence[tuple[DomainExamples, list[int]]]) -> Tensor:
    found = []
    for domain, numbers in chosen:
        values = domain.found.columns.get(name)
        try:
            column = torch.as_tensor(values, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError):
            column = torch.empty(0)
        if width == 1 and column.ndim == 1:  # a flag is written as it is
            column = column.unsqueeze(-1)
        if column.shape != (len(domain.found), width):
            raise InputError(
                f"every example must hold the feature {name!r}, one number a teacher",
                f"{'none' if values is None else f'shape {list(column.shape)}'} in domain {domain.name!r}",
                f"Add it, shaped [{len(domain.found)}, {width}].",
            )
        found.append(column[torch.tensor(numbers)])
    return torch.cat(found)
