"""Teach the learnable rules of a scheme after every optimizer step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trivium.errors import calling, require
from trivium.scheme import Scheme
from trivium.scheme.tree import leaves
from trivium.training.memory import Entries, Memory, Recall, gathered, padded_labels
from trivium.weighting.learnable import LearnableRule, TrainingState


class Teaching:
    """The learned rules of a scheme, and what they need to learn from a run.

    Args:
        recall: where rows are found again; None: the rows of past batches are kept as long as a rule holds on to them.
    """

    def __init__(self, scheme: Scheme, recall: Recall | None = None) -> None:
        self.rules = [rule for rule in leaves(scheme) if isinstance(rule, LearnableRule)]
        for rule in self.rules:  # they may have learned in a run before, whose rows nobody here knows
            rule.release()
        self.recall: Recall = recall or Memory()
        self.last = torch.arange(0)  # rows of the last batch
        self.steps = 0

    def require_one_process(self, processes: int) -> None:
        """Raises InputError with several, where each would learn from batches of its own."""
        require(
            processes == 1 or not self.rules,
            "rules that learn must be trained by one process",
            f"{processes} processes and {', '.join(rule.name for rule in self.rules)}",
            "Launch one, with larger batches.",
        )

    def see(self, batch: Entries, rows: int) -> None:
        """Take in a batch that the student trains on."""
        if self.rules:
            self.last = self.recall.keep(batch, rows)
            # Of an accumulated step the last batch is the lesson's.
            self.recall.forget({*self.last.tolist(), *(number for rule in self.rules for number in rule.kept())})

    def training_state(
        self,
        model: torch.nn.Module,
        learning_rate: float,
        student: Callable[[Mapping[str, Tensor], Entries], Tensor],
        teachers: Callable[[Entries], Sequence[Tensor]],
        labels: Callable[[Entries], Tensor],
        task: Callable[[Entries], Tensor],
        step: int | None = None,
    ) -> None:
        """Teach every rule after an optimizer step, on the rows of its last batch.

        Lessons run copies of the student's buffers and leave its random state alone, so that a student whose rules
        learn sees the same batches and the same dropout as one whose rules do not.

        Args:
            student: (parameters and buffers, batch) ↦ logits [n, T, V].
            teachers: batch ↦ K tensors of that shape.
            labels, task: batch ↦ [n, T] and [n].
            step: optimizer steps so far; None counts the lessons.
        """
        if not self.rules:
            return
        self.steps = self.steps + 1 if step is None else step
        device = next(model.parameters()).device
        buffers = {name: value.clone() for name, value in model.named_buffers()}

        def student_logits(parameters: Mapping[str, Tensor], numbers: Tensor) -> Tensor:
            with calling("the student must take part in a lesson", "Use rules that do not learn."):
                return gathered(self.recall.groups(numbers), lambda batch: student({**buffers, **parameters}, batch))

        def teacher_logits(numbers: Tensor) -> list[Tensor]:
            found = [(places, teachers(batch)) for places, batch in self.recall.groups(numbers)]
            count = len(found[0][1])
            return [
                gathered([(places, {"z": z[k]}) for places, z in found], lambda part: part["z"]) for k in range(count)
            ]

        given = TrainingState(
            step=self.steps,
            rows=self.last,
            learning_rate=learning_rate,
            parameters={name: p for name, p in model.named_parameters() if p.requires_grad},
            student_logits=student_logits,
            teacher_logits=teacher_logits,
            labels=lambda numbers: padded_labels(self.recall.groups(numbers), labels),
            task=lambda numbers: gathered(self.recall.groups(numbers), task),
        )
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            for rule in self.rules:
                rule.learn(given)

    def state(self) -> dict[str, Any]:
        """Return everything that lessons have changed."""
        rows = self.recall.state() if isinstance(self.recall, Memory) else {}
        return {"rules": [rule.state() for rule in self.rules], "rows": rows, "last": self.last, "steps": self.steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the state back: the inverse of :meth:`state`."""
        for rule, known in zip(self.rules, state["rules"], strict=True):
            rule.restore(known)
        if isinstance(self.recall, Memory) and state["rows"]:
            self.recall.restore(state["rows"])
        self.last, self.steps = state["last"], int(state["steps"])
