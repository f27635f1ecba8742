"""K teachers in memory: modules, callables, folders, hub ids, or logits that lie in the batch already."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from trivium.errors import InputError, TeacherError, VocabularyError, calling, nearest, require
from trivium.teachers.first_batch import SomeRows, admit, require_logits
from trivium.teachers.handing import (
    Intake,
    at_rest,
    decoding,
    inputs_of,
    logits_of,
    moved,
    of_transformers,
    tensor_of,
    unwrapped,
    unwritten,
)
from trivium.teachers.huggingface import check_logits
from trivium.teachers.live import LogitSource
from trivium.teachers.reach import modules_of
from trivium.teachers.references import load_reference
from trivium.teachers.vocabulary import HasVocabulary


@dataclass(frozen=True)
class InBatch:
    """A teacher whose logits are a column of the batch, [B, T, V] or [B, C], computed by whoever made the batch."""

    column: str


#: What may be given as a teacher.
Given = torch.nn.Module | Callable[..., Any] | str | Path | InBatch


@dataclass(frozen=True)
class Asked:
    """The parts of a batch that teachers need to answer.

    Attributes:
        batch: the whole batch, by name.
        device: where answers are wanted; None: where they come from.
        shape: the student's logits', [B, T, V] or [B, C]; None: that of the first teacher's.
        causal: whether position t must be answered from what stands up to it alone.
        vocabulary: the columns that count; None: all, and everybody must have as many.
    """

    batch: Mapping[str, Any]
    device: torch.device | None = None
    shape: tuple[int, ...] | None = None
    causal: bool = False
    vocabulary: int | None = None

    def placed(self, logits: Tensor) -> Tensor:
        """Return the logits on the device where they are wanted."""
        return logits if self.device is None else logits.to(self.device)


@runtime_checkable
class Answering(Protocol):
    """The interface of what answers for all teachers at once."""

    def answers(self, asked: Asked) -> list[Tensor]:
        """K tensors of the shape of the student's logits, columns cut to those that count."""
        ...

    def modules(self) -> dict[str, list[torch.nn.Module]]:
        """Return the modules that each teacher runs."""
        ...


class Bank:
    """Teachers on a fixed table of rows, answering by the number of a row: ``batch["row"]``, [B]."""

    def __init__(self, source: LogitSource) -> None:
        self.source = source

    def answers(self, asked: Asked) -> list[Tensor]:
        return [asked.placed(logits) for logits in self.source.logits(asked.batch["row"].cpu())]

    def modules(self) -> dict[str, list[torch.nn.Module]]:
        return {}


class Panel:
    """Teachers by name.

    Each gets of the batch what its forward names, see :meth:`trivium.teachers.handing.Intake.arguments`, on its own
    device. It answers in evaluation mode and without gradients whatever the caller has set, in the caller's autocast.
    The first batch is asked what every model is asked, see :mod:`trivium.teachers.first_batch`.

    Args:
        names: the scheme's teachers, in its order.
        teachers: one for each name; None: each one's logits are the batch's column ``NAME_logits``.
        columns: entries of the batch that rules read, and teachers do not.
        device: where models that are given by name go; None: to the student's logits.
        tokenizer: the student's, for models that are given by name.
        admission: whether the first batch is asked.
    """

    def __init__(
        self,
        names: Sequence[str],
        teachers: Mapping[str, Given] | None,
        columns: Sequence[str] = (),
        device: torch.device | None = None,
        tokenizer: HasVocabulary | None = None,
        admission: bool = True,
    ) -> None:
        self.names, self.device, self.tokenizer, self.admission = tuple(names), device, tokenizer, admission
        self.given = _each(self.names, teachers)
        stored = {t.column for t in self.given.values() if isinstance(t, InBatch)}
        self.apart = frozenset({*columns, *stored})
        self._readings: dict[str, Intake] = {}
        self._admitted: set[str] = set()

    def modules(self) -> dict[str, list[torch.nn.Module]]:
        return {name: modules_of(teacher) for name, teacher in self.given.items()}

    def aligned(self) -> bool:
        """Return whether a teacher of transformers answers at the position that it is asked about, not about the next
        one."""
        return any(answers_in_place(module) for found in self.modules().values() for module in found)

    def reads(self) -> set[str]:
        """Return the names of all entries of a batch that a teacher asks for by name."""
        named = {name for teacher in self.given.values() if callable(teacher) for name in Intake.of(teacher).names}
        return named | {teacher.column for teacher in self.given.values() if isinstance(teacher, InBatch)}

    def load(self, device: torch.device) -> None:
        """Load the teachers that are given as a folder or an id."""
        for name, teacher in self.given.items():
            if isinstance(teacher, str | Path):
                self.given[name] = load_reference(teacher, name, self.device or device, self.tokenizer)

    def answers(self, asked: Asked) -> list[Tensor]:
        found: list[Tensor] = []
        for name in self.names:
            found.append(self._answer(name, asked))
            asked = asked if asked.shape is not None else replace(asked, shape=tuple(found[0].shape))
        return found

    def _answer(self, name: str, asked: Asked) -> Tensor:
        teacher, who = self.given[name], f"teacher {name!r}"
        first = name not in self._admitted
        if isinstance(teacher, InBatch):
            if teacher.column not in asked.batch:
                fix = nearest(teacher.column, asked.batch) if asked.batch else ""
                raise InputError(f"the logits of {who} must be in the batch", f"no {teacher.column!r}", fix)
            logits = tensor_of(asked.batch[teacher.column], f"the logits of {who}, column {teacher.column!r},").detach()
        else:
            assert not isinstance(teacher, str | Path), "load() comes first"
            inputs = decoding(teacher, inputs_of(asked.batch, self.apart), asked.batch.get("labels"), who)
            if first and self.admission:
                admit(self._asking(name, teacher), inputs, teacher, who, asked.causal)
            logits = self._asking(name, teacher)(inputs)
        given = asked.placed(logits)
        logits = fitting(given, asked, who)
        if first:
            if isinstance(teacher, InBatch) and self.admission:
                check_logits(logits, name)
                require_logits(given, SomeRows(asked.batch, len(given)).answered, who)
            self._admitted.add(name)
        return logits

    def _asking(self, name: str, teacher: Callable[..., Any]) -> Callable[[Mapping[str, Any]], Tensor]:
        """From inputs to logits, at rest and on the teacher's own device."""
        who, modules = f"teacher {name!r}", modules_of(teacher)
        if name not in self._readings:
            self._readings[name] = Intake.of(teacher)
        reading = self._readings[name]
        home = next((p.device for module in modules for p in module.parameters()), None)

        def ask(inputs: Mapping[str, Any]) -> Tensor:
            with at_rest(modules), unwritten(inputs, who):
                given = inputs if home is None else moved(inputs, home)
                with calling(f"{who} must read a batch", "Call it on one by itself to see.", None):
                    output = reading.call(teacher, given, who)
            return logits_of(output, who, TeacherError).detach()

        return ask


def answers_in_place(model: object) -> bool:
    """Return whether what a callable runs is a model of transformers that labels the positions that it reads: an
    encoder-decoder, a tagger, a masked model."""
    return any(_in_place(unwrapped(module)) for module in modules_of(model))


def _in_place(model: Any) -> bool:
    endings = ("ForTokenClassification", "ForMaskedLM")
    return of_transformers(model) and (bool(model.config.is_encoder_decoder) or type(model).__name__.endswith(endings))


def answers_for_examples(model: object) -> bool:
    """Return whether what a callable runs is a model of transformers that gives one row of logits an example,
    [B, C]."""
    ending = re.compile("For(Sequence|Image|Video|Audio)Classification$")
    found = [unwrapped(module) for module in modules_of(model)]
    return any(of_transformers(module) and ending.search(type(module).__name__) for module in found)


def fitting(logits: Tensor, asked: Asked, who: str) -> Tensor:
    """Return logits in the shape of the student's, columns that stand for nothing cut off.

    Raises:
        TeacherError: another batch or length. VocabularyError: another number of columns.
    """
    found = tuple(logits.shape)
    if logits.ndim < 2 or (asked.shape is not None and found[:-1] != tuple(asked.shape[:-1])):
        expected = "each example or position" if asked.shape is None else f"the {list(asked.shape[:-1])} positions"
        raise TeacherError(
            f"{who} must give logits for {expected} of the batch",
            f"shape {list(found)}",
            "One row of numbers a position of a text, or an example.",
        )
    return cut(logits, None if asked.shape is None else asked.shape[-1], asked.vocabulary, who)


def cut(logits: Tensor, student: int | None, vocabulary: int | None, who: str) -> Tensor:
    """Return the columns that count; ``student`` is how many the student has, where that is known.

    Raises:
        VocabularyError: fewer than count, or another number than the student's where nothing says how many count.
    """
    width = logits.shape[-1]
    if vocabulary is None and student is not None and width != student:
        raise VocabularyError(
            f"{who} must have a logit for each of the student's {student} tokens or classes",
            width,
            "If the surplus is padding, say how many are real: Distiller(tokenizer=...) or vocabulary=N.",
        )
    if vocabulary is not None and width < vocabulary:
        raise VocabularyError(
            f"{who} must have a logit for each of {vocabulary} tokens",
            width,
            "Its weights belong to another vocabulary.",
        )
    return logits if vocabulary is None else logits[..., :vocabulary]


def _each(names: Sequence[str], teachers: Mapping[str, Given] | None) -> dict[str, Given]:
    if teachers is None:
        return {name: InBatch(f"{name}_logits") for name in names}
    require(
        isinstance(teachers, Mapping),
        "teachers must be a mapping from the scheme's names",
        type(teachers).__name__,
        f"Write {{{names[0]!r}: model, ...}}.",
    )
    for name in teachers:
        if name not in names:
            raise InputError("a teacher must be one of the scheme's", repr(name), nearest(str(name), names))
    lacking = [name for name in names if name not in teachers]
    if lacking:
        fix = f"Add {lacking[0]!r}: a model, a folder, a hub id, or tv.InBatch(column)."
        raise InputError("every teacher of the scheme must be given", f"none for {lacking}", fix)
    for name, teacher in teachers.items():
        given = callable(teacher) or isinstance(teacher, str | Path | InBatch)
        fits = given and not isinstance(teacher, type)  # a class is callable, and makes models
        kinds = "Give a module (made, no class), a callable, a folder, a hub id, or tv.InBatch(column)."
        require(fits, f"teacher {name!r} must be something to ask", type(teacher).__name__, kinds)
    return {name: teachers[name] for name in names}


__all__ = ["Answering", "Asked", "Bank", "Given", "InBatch", "Panel"]
