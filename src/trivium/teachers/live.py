"""Teachers run anew for every batch: no disk, K forward passes a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class Reader(Protocol):
    """A teacher of text or of examples."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def vocabulary_size(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    def logits(self, inputs: Any) -> Tensor:
        """Return logits [B, T, V] for a batch of what it reads."""
        ...


class LogitSource(Protocol):
    """K teachers on a fixed table of rows: cached on disk or live."""

    def logits(self, rows: Tensor) -> list[Tensor]:
        """K tensors [B, T, V] for row numbers [B]."""
        ...


@dataclass(frozen=True)
class LiveLogits:
    """Logits computed on demand, on the teachers' device and in their precision.

    Attributes:
        inputs: all rows of what the teachers read: token ids [N, T], or anything indexed and moved like a tensor.
    """

    teachers: Sequence[Reader]
    inputs: Any

    def logits(self, rows: Tensor) -> list[Tensor]:
        # Each its own copy: one that works in place would change what the next one reads.
        return [teacher.logits(self.inputs[rows.cpu()].to(teacher.device)) for teacher in self.teachers]
