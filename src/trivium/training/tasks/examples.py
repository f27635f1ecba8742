"""Labelled examples: rows of one position, any models with a head a task, nats an example and accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.data.census import TOLERATED, unknown_alert
from trivium.data.examples import DomainExamples, Examples, make_examples
from trivium.data.labelled import PAIR, Columns, read_examples
from trivium.data.table import Table
from trivium.errors import InputError, require
from trivium.scheme import Scheme
from trivium.teachers.admission import Say, unsaid
from trivium.teachers.live import LogitSource
from trivium.teachers.transformers_classifier import TransformersClassifier
from trivium.training.evaluate import nats_and_answer, nats_and_correct, teacher_nll, validation_losses
from trivium.training.recipe import Recipe
from trivium.training.tasks.accuracy import accuracy
from trivium.training.tasks.agreement import agreement_warnings
from trivium.training.tasks.base import Lengths, Materials, Tables, own_columns, own_features, three
from trivium.training.tasks.classifiers import (
    admit_classifier_student,
    build_classifier_student,
    build_classifiers,
    label_space,
    load_classifier_student,
    serves,
    text_readers,
)
from trivium.weighting.features import NEEDS_LABEL, NEEDS_PREFIX
from trivium.weighting.loading import load_object

#: How many texts are tokenized at once to be counted.
_AT_ONCE = 4096


class ExamplesTask:
    """A row is an example of one of several tasks, each with classes of its own; teachers may serve some tasks only."""

    measures: Mapping[str, str] = {"nats": "", "accuracy": "_correct"}

    def score(self, log_p: Tensor, labels: Tensor) -> Tensor:
        return nats_and_correct(log_p, labels)

    def sizes(self, recipe: Recipe, base: Path) -> Mapping[str, Callable[[], int]]:
        tasks = recipe.data.tasks
        return {"tasks": lambda: max(1, len(tasks)), "classes": lambda: sum(map(len, tasks.values()))}

    def admit(self, scheme: Scheme) -> None:
        prefix = sorted(NEEDS_PREFIX & set(scheme.ranges))
        if prefix:
            raise InputError(
                "a scheme for examples must not read a prefix: an example has none",
                f"a rule that reads {prefix[0]!r}, whose weights would be the same everywhere",
                "Leave it out, or use domain_map, static or skill.",
            )

    def serves(self, recipe: Recipe) -> Tensor:
        return serves(recipe, label_space(recipe))

    def materials(self, recipe: Recipe, scheme: Scheme, base: Path, device: torch.device, say: Say) -> Materials:
        notes: list[str] = []
        student = build_classifier_student(
            recipe, base, notes.append
        )  # first: one that cannot be is refused before data are read
        tables = build_examples(recipe, scheme, base)
        inputs = tables.validation.inputs  # of which every task has some
        teachers = build_classifiers(recipe, device, base, inputs, say)
        admit_classifier_student(student, inputs, notes.append)
        readers = text_readers(student, teachers)
        return Materials(teachers, tables, student, notes, lengths=partial(lengths, readers=readers))

    def student(self, recipe: Recipe, base: Path, rows: Table | None = None, say: Say = unsaid) -> Any:
        student = build_classifier_student(recipe, base, say)
        return student if rows is None else admit_classifier_student(student, rows.inputs, say)

    def load(self, recipe: Recipe, base: Path, folder: Path) -> Any:
        return load_classifier_student(recipe, base, folder)

    def judge(
        self, source: LogitSource, rows: Table, teacher_names: Sequence[str], classes: int
    ) -> tuple[Tensor, Iterable[str]]:
        assert isinstance(rows, Examples)
        found = teacher_nll(source, rows, nats_and_answer)
        return validation_losses(found[..., 0], rows), agreement_warnings(found[..., 1], rows, teacher_names)

    def results(self, nll: Mapping[str, Tensor], rows: Table, teacher_names: Sequence[str]) -> Mapping[str, Any]:
        assert isinstance(rows, Examples)
        return {"accuracy.json": accuracy(nll, rows, teacher_names)}


def build_examples(recipe: Recipe, scheme: Scheme, base: Path = Path()) -> Tables:
    """Return all examples of a run. Features that the scheme reads and Trivium does not compute are columns of the
    data."""
    data, own, space = recipe.data, own_features(scheme) | own_columns(recipe), label_space(recipe)
    columns = Columns(data.text_column, data.label_column, data.task_column, data.pair_column, tuple(own))
    served = serves(recipe, space)
    reads = recipe.loss.label > 0 or bool(set(scheme.ranges) & NEEDS_LABEL)

    def table(split: str, limit: int | None) -> Examples:
        found = [
            DomainExamples(
                d.name,
                d.task,
                read_examples(getattr(d, split), base, columns, lambda name: load_object(name, base)),
                getattr(d, split),
            )
            for d in data.domains
        ]
        return make_examples(found, space, served, limit, data.seed, own, split != "train" or reads)

    tables = three(recipe, table)
    seen = set(tables.validation.task.tolist())
    absent = [task for number, task in enumerate(space.tasks) if number not in seen]
    require(not absent, "every task must have validation examples", f"none for {absent}", "Add some.")
    return tables


def lengths(rows: Table, readers: Mapping[str, TransformersClassifier]) -> Lengths:
    """Return the tokens that the first reader reads of each domain, and a sentence for each reader that cuts many
    texts, or knows little of them."""
    values = [value for name, value in rows.inputs.values.items() if name in ("text", PAIR)]
    texts = [value for value in values if not isinstance(value, Tensor)]
    if not texts:
        return {}, []
    tokens: dict[int, int] = {}
    said = []
    for who, reader in readers.items():
        counted = [pair for part in _parts(texts) for pair in reader.counted(*part)]
        found, unknown = [length for length, _ in counted], sum(missed for _, missed in counted)
        alert = unknown_alert(unknown, sum(found))
        said += [] if alert is None else [f"{alert}, that of {who}"]
        if not tokens:
            for number, length in zip(rows.domain.tolist(), found, strict=True):
                tokens[number] = tokens.get(number, 0) + min(length, reader.window)
        cut = sum(length > reader.window for length in found)
        if cut > TOLERATED * len(found):
            said.append(f"{who} reads the first {reader.window} tokens alone of {cut} of {len(found)} texts")
    return tokens, said


def _parts(texts: Sequence[Sequence[str]]) -> Iterator[list[Sequence[str]]]:
    for begin in range(0, len(texts[0]), _AT_ONCE):
        yield [column[begin : begin + _AT_ONCE] for column in texts]
