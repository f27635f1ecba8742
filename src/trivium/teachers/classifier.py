"""Teachers of labelled examples: any module or callable that maps a batch of inputs to logits or probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from trivium.errors import InputError, TeacherError, TriviumError, calling, nearest
from trivium.teachers.huggingface import check_logits

Values = Mapping[str, Tensor | tuple[str, ...]]


class ClassifierBatch(Protocol):
    """What is read of a batch of examples: inputs by name, and each example's task [B]."""

    @property
    def values(self) -> Values: ...
    @property
    def task(self) -> Tensor: ...


def call(model: Callable[..., Any], values: Values) -> Any:
    """Return the model's output. One input is handed over by position, several by name; texts as a list."""
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return model(*given.values()) if len(given) == 1 else model(**given)


@dataclass(frozen=True)
class Heads:
    """How a model's output fills the space of all tasks' classes.

    Attributes:
        tasks: the names of all tasks.
        task_of_class: the task of each of the C classes, int64 [C]; a task's classes stand together.
        serves: the tasks that the model has a head for, in the order of ``tasks``.
        columns: the model's column of each class of these tasks, −1 for one that it lacks; None: as they stand.
    """

    tasks: tuple[str, ...]
    task_of_class: Tensor
    serves: tuple[int, ...]
    columns: tuple[int, ...] | None = None

    @property
    def size(self) -> int:
        return len(self.task_of_class)

    def inside(self, task: Tensor) -> Tensor:
        """Return which classes belong to each example's task, bool [B, C]."""
        return self.task_of_class.to(task.device) == task.unsqueeze(-1)

    def spread(self, output: Any, rows: int, who: str, fault: type[TriviumError] = InputError) -> Tensor:
        """Return the output's numbers in their places, [B, C]; −inf for classes of tasks that are not served.

        Args:
            output: [B, classes of the served tasks side by side], or a mapping from task to [B, its classes]; an
                object with ``logits`` stands for those.
            who: the model's name in errors, which are of class ``fault``.
        """
        found = getattr(output, "logits", output)
        if not isinstance(found, Mapping):
            found = self._split(found, who, fault)
        elif self.columns is not None:
            found = self._reordered(found, who, fault)
        served = [self.tasks[task] for task in self.serves]
        for name in found:
            if name not in served:
                raise fault(f"the heads of {who} must be tasks that it serves", repr(name), nearest(str(name), served))
        parts = [self._head(found.get(name), number, rows, who, fault) for number, name in enumerate(self.tasks)]
        known = next((part for part in parts if part is not None), None)
        if known is None:
            raise fault(f"{who} must have a head", "none", "Return the logits of at least one task.")
        blocks = [
            known.new_full((rows, int((self.task_of_class == number).sum())), -torch.inf) if part is None else part
            for number, part in enumerate(parts)
        ]
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=-1)

    def _head(self, found: Any, number: int, rows: int, who: str, fault: type[TriviumError]) -> Tensor | None:
        if found is None:
            return None
        part, classes = _numbers(found, who, fault), int((self.task_of_class == number).sum())
        if part.shape != (rows, classes):
            raise fault(
                f"{who} must give one number for each of the {classes} classes of task {self.tasks[number]!r}",
                f"shape {list(part.shape)} for {rows} examples",
                "Classes and their order are those of data.tasks.",
            )
        return part if part.dtype in (torch.float16, torch.bfloat16) else part.float()

    def _split(self, found: Any, who: str, fault: type[TriviumError]) -> dict[str, Tensor]:
        sizes = self._sizes()
        given = sum(sizes) if self.columns is None else sum(column >= 0 for column in self.columns)
        whole = _numbers(found, who, fault)
        if whole.ndim != 2 or whole.shape[-1] != given:
            raise fault(
                f"{who} must give one number for each of {given} classes",
                f"shape {list(whole.shape)}",
                "Classes and their order are those of data.tasks; name a teacher's `tasks` if it serves some only.",
            )
        if self.columns is not None:
            whole = self._taken(whole, self.columns)
        return {self.tasks[t]: part for t, part in zip(self.serves, whole.split(sizes, dim=-1), strict=True)}

    def _sizes(self) -> list[int]:
        return [int((self.task_of_class == task).sum()) for task in self.serves]

    def _taken(self, given: Tensor, columns: Sequence[int]) -> Tensor:
        """Return the columns of the classes, in the classes' order; −inf for one that the model lacks."""
        index = torch.tensor(columns, device=given.device)
        given = given if given.is_floating_point() else given.float()
        return given[:, index.clamp_min(0)].masked_fill(index < 0, -torch.inf)

    def _reordered(self, found: Mapping[str, Any], who: str, fault: type[TriviumError]) -> dict[str, Any]:
        """Heads by task, each in its classes' order."""
        put, begin = dict(found), 0
        for task, size in zip(self.serves, self._sizes(), strict=True):
            name, columns = self.tasks[task], (self.columns or ())[begin : begin + size]
            begin += size
            if name not in found:
                continue
            own = sorted(column for column in columns if column >= 0)
            part = torch.as_tensor(found[name])
            if own != [*range(own[0], own[0] + len(own))] or part.ndim != 2 or part.shape[-1] != len(own):
                raise fault(
                    f"{who} must give, by task, one number for each class that it names there",
                    f"shape {list(part.shape)} for {len(own)} classes of {name!r}",
                    "Name each task's classes together, in the order of its outputs.",
                )
            put[name] = self._taken(part, [column - own[0] if column >= 0 else -1 for column in columns])
        return put


def _numbers(found: Any, who: str, fault: type[TriviumError]) -> Tensor:
    """Return what a model returned as a tensor of real numbers."""
    fix = "Return a tensor [B, classes], or one a task."
    try:
        given = torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise fault(f"{who} must return logits", type(found).__name__, fix) from error
    if given.is_complex():  # as real numbers they would lose a half without a word
        raise fault(f"{who} must return real numbers", str(given.dtype), fix)
    return given


@dataclass(frozen=True)
class Classifier:
    """A frozen classifier as a teacher.

    Attributes:
        name: what tables call it.
        model: maps inputs to numbers, see :meth:`Heads.spread`.
        heads: the tasks it serves.
        fingerprint: identifies what it computes, as far as that can be told without asking it.
        known: whether that is all; else answers belong to its identity, see :func:`trivium.teachers.probes.identified`.
        probabilities: whether it gives probabilities, which may lack classes and sum to less than one.
        smoothing: ε of (1 − ε)·p + ε/C_t over the C_t classes of the example's task, which keeps log-losses finite.
    """

    name: str
    model: Callable[..., Any]
    heads: Heads
    fingerprint: str
    probabilities: bool = False
    smoothing: float = 0.0
    known: bool = True

    @property
    def vocabulary_size(self) -> int:
        return self.heads.size

    @property
    def device(self) -> torch.device:
        parameters = self.model.parameters() if isinstance(self.model, torch.nn.Module) else iter(())
        return next((p.device for p in parameters), torch.device("cpu"))

    @torch.no_grad()
    def logits(self, inputs: ClassifierBatch) -> Tensor:
        """Return logits [B, 1, C]: −inf outside the example's task; all alike inside a task that it does not serve.

        Raises:
            ForeignError: what the model's own code raises.
            TeacherError: an output of another shape, NaN, a negative probability, or an example without mass.
        """
        task, found = inputs.task, self.answers(inputs)
        task = task.to(found.device)
        inside = self.heads.inside(task)
        if self.probabilities:
            found = self._logarithms(found)
        served = torch.isin(task, torch.tensor(self.heads.serves, device=task.device))
        found = torch.where(served.unsqueeze(-1), found, 0.0).masked_fill(~inside, -torch.inf)
        if self.smoothing > 0:
            known = found.isfinite().any(-1, keepdim=True)  # an example that no class fits is smoothed to uniform
            p = torch.where(known, found.float().softmax(-1), 0.0)
            mixed = (1 - self.smoothing) * p + self.smoothing * inside / inside.sum(-1, keepdim=True)
            # NaN is neither finite nor −inf: it must come through and be named.
            found = torch.where(found.isnan().any(-1, keepdim=True), torch.nan, mixed.log())
        return check_logits(found, self.name).unsqueeze(1)

    @torch.no_grad()
    def answers(self, inputs: ClassifierBatch) -> Tensor:
        """Return what the model says, in the order of the classes, [B, C]: logits or probabilities, as they come."""
        with calling(f"teacher {self.name!r} must read a batch", "Call it on one by itself to see."):
            output = call(self.model, inputs.values)
        return self.heads.spread(output, len(inputs.task), f"teacher {self.name!r}", TeacherError).detach()

    def _logarithms(self, found: Tensor) -> Tensor:
        p = torch.where(torch.isneginf(found), 0.0, found.float())
        if bool((p < 0).any()):
            raise TeacherError(
                f"teacher {self.name!r} must give probabilities, as its recipe says",
                f"{float(p[p < 0].min()):.3g}",
                "Say `gives: logits`, or mend it.",
            )
        for number in self.heads.serves:
            total = p[:, (self.heads.task_of_class == number).to(p.device)].sum(-1)
            if bool((total > 1 + 1e-3).any()):
                raise TeacherError(
                    f"probabilities of teacher {self.name!r} must sum to at most one",
                    f"{float(total.max()):.4g} on task {self.heads.tasks[number]!r}",
                    "Say `gives: logits`, or mend it.",
                )
        return p.log()
