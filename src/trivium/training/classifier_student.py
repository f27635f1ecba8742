"""The student of labelled examples: any module, with one head a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trivium.data.examples import Inputs
from trivium.teachers.classifier import Heads, call
from trivium.teachers.transformers_classifier import TransformersClassifier


class Output(NamedTuple):
    """Logits [B, 1, C], −inf outside each example's task."""

    logits: Tensor


class ClassifierStudent(torch.nn.Module):
    """A module that maps inputs to logits [B, C], or to a mapping from task to [B, C_t], as a student of one position.

    Logits outside an example's task are −inf, as the teachers' are: the softmax over all classes is then exactly that
    of the task's own head, and no gradient reaches another one.
    """

    def __init__(self, inner: torch.nn.Module, heads: Heads) -> None:
        super().__init__()
        self.inner, self.heads = inner, heads

    def forward(self, inputs: Inputs) -> Output:
        """Raises InputError: an output of another shape."""
        logits = self.heads.spread(call(self.inner, inputs.values), len(inputs), "the student")
        if len(self.heads.tasks) > 1:
            logits = logits.masked_fill(~self.heads.inside(inputs.task), -torch.inf)
        return Output(logits.unsqueeze(1))

    def save_pretrained(self, folder: Path) -> None:
        """Write a folder that transformers loads, for one of its models; else ``model.safetensors`` with the inner
        module's parameters and buffers."""
        inner: Any = self.inner
        if isinstance(inner, TransformersClassifier):
            inner.model.save_pretrained(folder)
            if inner.tokenizer is not None:
                inner.tokenizer.save_pretrained(folder)
            return
        from safetensors.torch import save_model

        folder.mkdir(parents=True, exist_ok=True)
        save_model(inner, str(folder / "model.safetensors"))
