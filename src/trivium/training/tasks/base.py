"""The interface of a kind of data, and the table of all kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from trivium.data.table import Table
from trivium.errors import InputError, nearest, require
from trivium.scheme import Scheme
from trivium.store.code import source_files
from trivium.teachers.admission import Say, unsaid
from trivium.teachers.live import LogitSource, Reader
from trivium.training.recipe import Recipe
from trivium.weighting.features import BUILT_IN
from trivium.weighting.loading import load_object

#: The tokens of each domain's rows, by number, and sentences on what is cut from them.
Lengths = tuple[dict[int, int], list[str]]


@dataclass(frozen=True)
class Tables:
    """Rows of the three splits, drawn alike for every run that shares the recipe's data section."""

    train: Table
    validation: Table
    test: Table | None

    def splits(self) -> dict[str, Table]:
        """Return those that the recipe has, by name, in the order in which teachers read them."""
        found = {"train": self.train, "validation": self.validation}
        return found if self.test is None else {**found, "test": self.test}


def _no_lengths(rows: Table) -> Lengths:
    return {}, []


@dataclass(frozen=True)
class Materials:
    """The loaded data and models of a recipe.

    Attributes:
        student: one that was asked what every model is asked. ``notes`` are what to say of it when it trains.
        tokenizer: of text, that which student and teachers share.
        lengths: counts the tokens of a split's rows, where the table's census cannot.
    """

    teachers: Sequence[Reader]
    tables: Tables
    student: Any
    notes: Sequence[str] = ()
    tokenizer: Any = None
    lengths: Callable[[Table], Lengths] = _no_lengths


@runtime_checkable
class Task(Protocol):
    """The interface of a kind of data: whatever is not here is the same for every kind.

    Whatever a row is, it has T positions, at each of which student and teachers give V logits and a label is one of V
    classes. A task says where rows, student and teachers come from and what is told of them.

    ``measures`` names the numbers that :meth:`score` gives a row, nats first: each by its name in the validations of a
    trace, with what is put behind ``student``, ``teachers`` and ``mixture`` in ``nats.json``.
    """

    @property
    def measures(self) -> Mapping[str, str]: ...

    def score(self, log_p: Tensor, labels: Tensor) -> Tensor:
        """From log-probabilities [B, T, V] and labels [B, T] to a number for each of ``measures``, [B, M], float64."""
        ...

    def sizes(self, recipe: Recipe, base: Path) -> Mapping[str, Callable[[], int]]:
        """Return what a learned rule may need to know of a run, by the name of its option; each is asked where it is
        needed. The number of teachers is known without."""
        ...

    def admit(self, scheme: Scheme) -> None:
        """Raises InputError: a scheme that reads what rows of this kind do not have."""
        ...

    def serves(self, recipe: Recipe) -> Tensor | None:
        """Return which teachers serve which rows, a pattern a line, bool [patterns, K]; None where all serve all."""
        ...

    def materials(self, recipe: Recipe, scheme: Scheme, base: Path, device: torch.device, say: Say) -> Materials:
        """Return rows, teachers and a student, checked to fit; what is cheap to refuse is refused first.

        Args:
            say: called with what is worth knowing of a teacher that is taken all the same.
        """
        ...

    def student(self, recipe: Recipe, base: Path, rows: Table | None = None, say: Say = unsaid) -> Any:
        """Return a new student to train: a module whose forward takes :meth:`Table.arguments` and returns ``logits``
        [B, T, V], with ``save_pretrained``. A fresh one's weights depend on the recipe's seed alone.

        Args:
            rows: some to ask it about; None asks nothing that needs rows.
        """
        ...

    def load(self, recipe: Recipe, base: Path, folder: Path) -> Any:
        """Return a student as its ``save_pretrained`` left it in ``folder``."""
        ...

    def judge(
        self, source: LogitSource, rows: Table, teacher_names: Sequence[str], classes: int
    ) -> tuple[Tensor, Iterable[str]]:
        """Return the teachers' losses on validation rows, [tasks, K], and a line for whatever they give away."""
        ...

    def results(self, nll: Mapping[str, Tensor], rows: Table, teacher_names: Sequence[str]) -> Mapping[str, Any]:
        """Return what a run leaves beside ``nats.json``, plain values by file name.

        Args:
            nll: what the run returns, see :func:`trivium.training.run.distill`.
        """
        ...


#: By what a recipe calls it in ``data.kind``.
TASKS: dict[str, Task] = {}


def register(kind: str, task: Task) -> None:
    """Make ``data.kind: KIND`` stand for ``task`` in this process; a recipe may also name one as ``FILE.py:NAME``.

    Raises:
        InputError: the name is another task's.
    """
    require(TASKS.get(kind, task) is task, "a kind of data must have one task", repr(kind), "Choose another name.")
    TASKS[kind] = task


def task_of(recipe: Recipe, base: Path = Path()) -> Task:
    """Return the task that the recipe's ``data.kind`` stands for.

    Raises:
        InputError: a file without it, or whose object is no task.
    """
    kind = recipe.data.kind
    if ".py:" not in kind:
        require(kind in TASKS, "data.kind must be a registered task, or FILE.py:NAME", repr(kind), nearest(kind, TASKS))
        return TASKS[kind]
    found = load_object(kind, base)
    if isinstance(found, type) or not isinstance(found, Task):
        lacks = [name for name in vars(Task) if not name.startswith("_") and name not in dir(found)]
        what = f"a {type(found).__name__} without {', '.join(lacks)}" if lacks else "a class"
        raise InputError(f"{kind} must be a task", what, "Name an object with what trivium.training.tasks.Task has.")
    return found


def task_files(recipe: Recipe, base: Path) -> dict[str, str]:
    """Return SHA-256 of the file of a user's task, and of what it imports beside it, by its path as seen from
    ``base``."""
    path, separator, _ = recipe.data.kind.rpartition(":")
    return source_files(base / path, base) if separator else {}


def own_features(scheme: Scheme) -> dict[str, int]:
    """Return the features that the data must hold, with the numbers a row of each."""
    num_teachers = len(scheme.teacher_names)
    return {name: interval.width(num_teachers) for name, interval in scheme.ranges.items() if name not in BUILT_IN}


def own_columns(recipe: Recipe) -> dict[str, int]:
    """Return the column of the data that says which rows are critical, if the recipe names one."""
    found = recipe.safety.critical.column if recipe.safety else None
    return {} if found is None else {found: 1}


def three(recipe: Recipe, table: Callable[[str, int | None], Table]) -> Tables:
    """Return the tables of all splits, each made by ``table(split, limit)``.

    Raises:
        InputError: two domains of one name, or some domains with test data and some without.
    """
    data = recipe.data
    names = [domain.name for domain in data.domains]
    require(len(set(names)) == len(names), "domains' names must differ", names, "Rename one of them.")
    has_test = [domain.test is not None for domain in data.domains]
    require(all(has_test) or not any(has_test), "all domains must have test data, or none", has_test, "Add `test`.")
    return Tables(
        table("train", data.train_rows),
        table("validation", data.evaluation_rows),
        table("test", data.test_rows) if all(has_test) else None,
    )
