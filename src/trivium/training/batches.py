"""From a batch as loaders make them, a mapping of tensors, to what a step reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from trivium.data.rows import IGNORE
from trivium.errors import InputError, nearest, require
from trivium.former import keyed
from trivium.scheme import Scheme
from trivium.teachers.handing import tensor_of
from trivium.training.collect import Batch
from trivium.weighting.features import BUILT_IN, NEEDS_LABEL, NEEDS_PREFIX

#: Former marks of a batch: what they are called now.
FORMER_MARKS = {"serving": "teacher_mask"}


def require_batch(batch: Any) -> None:
    """Raise InputError unless a batch maps names, which are texts."""
    require(isinstance(batch, Mapping), "a batch must map names to tensors", type(batch).__name__, "Give a dict.")
    nameless = [name for name in batch if not isinstance(name, str)]
    require(not nameless, "a batch must name its entries", nameless[:1], "Their names are texts.")


def predicted(batch: Mapping[str, Any], shifts: bool, examples: bool = False) -> Tensor | None:
    """Return what each position of the student's logits predicts, [B, T] or [B]; None where the batch does not say.

    The one place where labels are shifted. ``labels`` are as transformers has them: the label of a position of a text
    is the token that stands there, so what position t predicts is the label of t + 1, and the last position predicts
    nothing. Labels that stand where they are predicted already are given as ``shift_labels``; those of examples, [B] or
    [B, 1], are never moved, and a text that is an example is not its own labels.

    Args:
        shifts: whether labels of a text are moved.
        examples: whether the logits are those of examples, [B, C], which labels alone do not tell.

    >>> predicted({"labels": torch.tensor([[5, 6, 7]])}, shifts=True)
    tensor([[   6,    7, -100]])
    """
    if batch.get("shift_labels") is not None:
        return tensor_of(batch["shift_labels"], "'shift_labels'")
    found = batch.get("labels")
    if found is None and shifts and not examples and isinstance(batch.get("input_ids"), Tensor):
        found = batch["input_ids"]  # a text is its own labels
        if isinstance(mask := batch.get("attention_mask"), Tensor):
            found = found.masked_fill(mask == 0, IGNORE)
    if found is None:
        return None
    labels = tensor_of(found, "'labels'")
    if examples and labels.ndim == 2 and labels.shape[1] == 1:
        return labels.squeeze(1)
    if labels.ndim < 2 or examples or not shifts:
        return labels
    labels = labels if labels.is_floating_point() else labels.long()  # small types have no −100
    return torch.nn.functional.pad(labels, (0, 1), value=IGNORE)[..., 1:]


@dataclass(frozen=True)
class BatchReader:
    """Reads batches for a scheme.

    Attributes:
        labelled: whether the loss reads labels.
        tasks, domains: their names, where batches name them; else batches hold their indices.
    """

    scheme: Scheme
    labelled: bool
    tasks: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()

    @property
    def columns(self) -> dict[str, int]:
        """The columns that the scheme's rules read, with the numbers a row of each."""
        num_teachers = len(self.scheme.teacher_names)
        ranges = self.scheme.ranges
        own = {name: interval.width(num_teachers) for name, interval in ranges.items() if name not in BUILT_IN}
        return {**own, "critical": 1} if "critical" in ranges else own

    @property
    def needs_labels(self) -> str:
        """What reads labels; empty where nothing does."""
        read = sorted(set(self.scheme.ranges) & (NEEDS_LABEL | NEEDS_PREFIX))
        return "the loss" if self.labelled else f"the feature {read[0]!r}" if read else ""

    def read(
        self,
        batch: Mapping[str, Any],
        shifts: bool,
        logits: Tensor,
        teachers: Sequence[Tensor],
        examples: bool = False,
    ) -> Batch:
        """Return the batch of a step.

        Args:
            shifts, examples: whether labels are moved, and whether rows are examples; see :func:`predicted`.
            logits: the student's, [B, T, V], columns cut.
            teachers: K tensors of that shape.

        Raises:
            InputError: something that the scheme or the loss reads and the batch does not hold, or holds in another
                shape, or a label that no column of the logits stands for.
        """
        rows = len(logits)
        return Batch(
            labels=self._labels(batch, predicted(batch, shifts, examples), logits),
            teacher_logits=teachers,
            domain=self.index(batch, "domain", rows).to(logits.device),
            task=self.index(batch, "task", rows).to(logits.device),
            columns={name: self._column(batch, name, rows, width, logits) for name, width in self.columns.items()},
            teacher_mask=self._teacher_mask(batch, rows, logits.device),
        )

    def _labels(self, batch: Mapping[str, Any], found: Tensor | None, logits: Tensor) -> Tensor:
        rows, positions, classes = logits.shape
        if found is None:
            if self.needs_labels or positions > 1:
                needed = self.needs_labels or "its positions"
                raise InputError(f"a batch must hold labels for {needed}", f"{sorted(batch)}", "Add 'labels'.")
            return torch.zeros(rows, positions, dtype=torch.long, device=logits.device)
        labels = found.to(logits.device)
        labels = labels.unsqueeze(-1) if labels.ndim == 1 else labels
        require(
            labels.shape == (rows, positions) and not labels.is_floating_point(),
            f"labels must be whole numbers, one for each of the logits' {[rows, positions]} positions",
            f"{labels.dtype} {list(labels.shape)}",
            "−100 says that a position predicts nothing.",
        )
        labels = labels.long()
        bad = ((labels < 0) & (labels != IGNORE)) | (labels >= classes)
        if bool(bad.any()):
            raise InputError(
                f"a label must be one of {classes} tokens or classes, or {IGNORE} for none",
                int(labels[bad][0]),
                "Is the vocabulary cut, or the padding's label not −100?",
            )
        return labels

    def index(self, batch: Mapping[str, Any], name: Literal["domain", "task"], rows: int) -> Tensor:
        """Return the rows' domains or tasks by number, [B]; all 0 where the batch has none and nothing reads them."""
        found, names = batch.get(name), self.tasks if name == "task" else self.domains
        if found is None:
            needed = name in self.scheme.ranges and len(names) != 1
            given = f"Add {name!r}: one index a row (collators drop names), or names with Distiller({name}s=[...])."
            require(not needed, f"a batch must hold each row's {name}, which the scheme reads", sorted(batch), given)
            return torch.zeros(rows, dtype=torch.long)
        values = [found] * rows if isinstance(found, str | int) else found
        if (
            isinstance(values, Iterable)
            and not isinstance(values, Tensor)
            and any(isinstance(value, str) for value in values)
        ):
            for value in values:
                if value not in names:
                    fix = nearest(str(value), names) if names else f"Name them all: Distiller({name}s=[...])."
                    raise InputError(f"the {name} of a row must be known", repr(value), fix)
            values = [names.index(value) for value in values]
        index = tensor_of(values, repr(name)).flatten().long()
        require(len(index) == rows, f"{name!r} must be one a row", f"{len(index)} for {rows} rows", "Give [B].")
        low, high = (int(end) for end in index.aminmax()) if rows else (0, 0)
        limit = len(names) or 256
        require(low >= 0 and high < limit, f"{name!r} must be indices from 0 to {limit - 1}", [low, high], "Name them.")
        return index

    def _column(self, batch: Mapping[str, Any], name: str, rows: int, width: int, logits: Tensor) -> Tensor:
        if name not in batch:
            fix = nearest(name, batch) if batch else "Add it."
            raise InputError(f"a batch must hold the column {name!r}, which a rule reads", sorted(batch), fix)
        column = tensor_of(batch[name], f"column {name!r}").to(logits.device, torch.float32)
        column = column.unsqueeze(-1) if column.ndim == 1 and width == 1 else column
        shape = [rows, width]
        require(list(column.shape) == shape, f"column {name!r} must be shaped {shape}", list(column.shape), "[B, K].")
        return column

    def _teacher_mask(self, batch: Mapping[str, Any], rows: int, device: torch.device) -> Tensor | None:
        found = keyed(
            {name: batch[name] for name in ("teacher_mask", "serving") if name in batch}, FORMER_MARKS, "a batch"
        )
        if found.get("teacher_mask") is None:
            return None
        teacher_mask = tensor_of(found["teacher_mask"], "'teacher_mask'").to(device)
        shape = (rows, len(self.scheme.teacher_names))
        fits = teacher_mask.dtype == torch.bool and teacher_mask.shape == shape
        said = f"{teacher_mask.dtype} {list(teacher_mask.shape)}"
        require(fits, f"'teacher_mask' must say which teacher serves which row, bool {list(shape)}", said, "[B, K].")
        require(bool(teacher_mask.any(-1).all()), "every row must have a teacher that serves it", "a row without", "")
        return teacher_mask
