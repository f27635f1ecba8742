"""Rules that learn, taught by a run: one lesson after every optimizer step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.data.table import Table
from trivium.errors import calling, require
from trivium.scheme import Scheme
from trivium.scheme.tree import leaves
from trivium.teachers.live import LogitSource
from trivium.weighting.learned import Learned, Lesson

_FILE = "rules.pt"


class Teaching:
    """The learned rules of a scheme, and what they need to learn from a run.

    Args:
        model: the student. Lessons run copies of its buffers and leave its random state alone, so that a student whose
            rules learn sees the same batches and the same dropout as one whose rules do not.
        rows, source: the training rows and the teachers' logits on them.

    Raises:
        InputError: with several processes, where each would learn from batches of its own.
    """

    def __init__(self, scheme: Scheme, model: torch.nn.Module, rows: Table, source: LogitSource, processes: int = 1):
        self.rules = [rule for rule in leaves(scheme) if isinstance(rule, Learned)]
        self.model, self.rows, self.source = model, rows, source
        require(
            processes == 1 or not self.rules,
            "rules that learn must be trained by one process",
            f"{processes} processes and {', '.join(rule.name for rule in self.rules)}",
            "Launch one, with larger batches.",
        )

    def lesson(self, step: int, index: Tensor, learning_rate: float) -> None:
        """Teach every rule after optimizer step ``step``; ``index``: the rows of its last batch."""
        if not self.rules:
            return
        device = next(self.model.parameters()).device
        vocabulary = self.source.logits(index[:1])[0].shape[-1]
        buffers = {name: value.clone() for name, value in self.model.named_buffers()}

        def student_logits(parameters: Mapping[str, Tensor], numbers: Tensor) -> Tensor:
            arguments = self.rows.arguments(numbers, device)
            with calling("the student must take part in a lesson", "Use rules that do not learn."):
                output = torch.func.functional_call(self.model, {**buffers, **parameters}, (), arguments)
                logits: Tensor = output.logits[..., :vocabulary]
            return logits

        given = Lesson(
            step=step,
            rows=index,
            learning_rate=learning_rate,
            parameters={name: p for name, p in self.model.named_parameters() if p.requires_grad},
            student_logits=student_logits,
            teacher_logits=lambda numbers: [logits.to(device) for logits in self.source.logits(numbers)],
            labels=lambda numbers: self.rows.labels[numbers].to(device),
            task=lambda numbers: self.rows.task[numbers].to(device),
        )
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            for rule in self.rules:
                rule.learn(given)

    def save(self, folder: Path) -> None:
        """Write the state of every learned rule beside a checkpoint, nothing where there is none."""
        if self.rules:
            torch.save([rule.state() for rule in self.rules], folder / _FILE)

    def restore(self, folder: Path) -> None:
        """The inverse of :meth:`save`."""
        if self.rules:
            states: list[dict[str, Any]] = torch.load(folder / _FILE, weights_only=True)
            for rule, state in zip(self.rules, states, strict=True):
                rule.restore(state)
